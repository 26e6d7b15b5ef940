package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// field is a key that a mapping may have, and where its value goes.
type field struct {
	name  string
	value reflect.Value
	tag   reflect.StructTag
	// given is the key that the file used, empty if it used none.
	given string
}

// fieldsOf lists the fields of structs that share one mapping. An embedded struct
// stands for its fields.
func fieldsOf(structs ...reflect.Value) []*field {
	var fs []*field
	for _, v := range structs {
		for i := range v.NumField() {
			sf := v.Type().Field(i)
			name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
			switch {
			case sf.Anonymous && name == "" || options == "inline":
				fs = append(fs, fieldsOf(v.Field(i))...)
			case name != "" && name != "-" && sf.IsExported():
				fs = append(fs, &field{name: name, value: v.Field(i), tag: sf.Tag})
			}
		}
	}
	return fs
}

// setDefault applies the default tags of f and of the fields below it. A default
// that its own type refuses is a programming error.
func (f *field) setDefault() {
	if text, ok := f.tag.Lookup("default"); ok {
		if err := setScalar(f.value, text); err != nil {
			panic(fmt.Sprintf("config: default of %q: %v", f.name, err))
		}
		return
	}
	if f.value.Kind() == reflect.Struct {
		for _, below := range fieldsOf(f.value) {
			below.setDefault()
		}
	}
}

// keys are the keys under which the file may give f: a secret also comes from a
// file, secrets from several.
func (f *field) keys() []string {
	switch f.value.Interface().(type) {
	case connector.Secret:
		return []string{f.name, f.name + "_file"}
	case []connector.Secret:
		return []string{f.name, strings.TrimSuffix(f.name, "s") + "_files"}
	}
	return []string{f.name}
}

// fromFile reports whether the file gave the path of a secret, not the secret.
func (f *field) fromFile() bool { return f.given != "" && f.given != f.name }

// empty reports whether f holds nothing, whatever the file says.
func (f *field) empty() bool {
	if z, ok := reflect.TypeAssert[interface{ IsZero() bool }](f.value); ok {
		return z.IsZero()
	}
	kind := f.value.Kind()
	return (kind == reflect.String || kind == reflect.Slice || kind == reflect.Map) && f.value.Len() == 0
}

func keysOf(fs []*field) []string {
	var keys []string
	for _, f := range fs {
		keys = append(keys, f.keys()...)
	}
	return keys
}
