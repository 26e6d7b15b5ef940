package connectors

import (
	"encoding"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
)

const schemaFile = "../docs/config.schema.json"

// TestConfigSchema holds that the JSON Schema for editors is what the config structs
// say.
func TestConfigSchema(t *testing.T) {
	t.Parallel()
	g := schemaMaker{reference{t: t, packages: map[string]map[string]structDoc{}}, map[reflect.Type]bool{}}
	text, err := json.MarshalIndent(g.config(), "", "  ")
	require.NoError(t, err)
	want := string(text) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(schemaFile, []byte(want), 0o644))
	}
	have, err := os.ReadFile(schemaFile)
	require.NoError(t, err)
	require.Equal(t, want, string(have), "docs/config.schema.json is stale: run make generate")
}

// What loads fits the schema, and what an editor should mark does not.
func TestConfigSchemaJudgesAsTheLoaderDoes(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	require.NoError(t, err)
	fits := func(text string) error {
		var v any
		require.NoError(t, yaml.Unmarshal([]byte(text), &v))
		plain, err := json.Marshal(v)
		require.NoError(t, err)
		v, err = jsonschema.UnmarshalJSON(strings.NewReader(string(plain)))
		require.NoError(t, err)
		return schema.Validate(v)
	}
	files, err := filepath.Glob("../examples/*.yaml")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, fits(string(text)), file)
	}
	for name, text := range pages(t) {
		for _, example := range yamlBlock.FindAllStringSubmatch(text, -1) {
			require.NoError(t, fits(exampleHead+example[1]), name)
		}
	}
	const target = "targets: {t: {connector: http, url: \"http://x\", delete: ignore, "
	require.NoError(t, fits(exampleHead+target+"timeout: 5s, concurrency: \"${N:3}\", when: event.ok, map: {a: {b: key, c: {const: [1]}}}}}"))
	for _, wrong := range []string{
		"tragets: {}",
		target + "tiemout: 5s}}",
		target + "timeout: soon}}",
		target + "concurrency: 0}}",
		target + "deliver: newest}}",
		"targets: {t: {connector: carrier-pigeon}}",
		"targets: {t: {connector: file}}",
	} {
		require.Error(t, fits(exampleHead+wrong), wrong)
	}
}

// schemaMaker makes a JSON Schema (draft 7, which editors know best) of config structs.
type schemaMaker struct {
	reference

	// open are the structs that are being written: one inside itself is any mapping.
	open map[reflect.Type]bool
}

type object = map[string]any

func (g *schemaMaker) config() object {
	root := g.mapping(reflect.TypeFor[config.Config]())
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["title"] = "policysync"
	kinds := Builtin()
	names := slices.Sorted(maps.Keys(kinds))
	var choices []any
	for _, name := range names {
		fields := g.mapping(reflect.TypeFor[config.Target](), reflect.TypeOf(kinds[name].Config()).Elem())
		choices = append(choices, object{
			"if":   object{"properties": object{"connector": object{"const": name}}},
			"then": fields,
		})
	}
	properties := root["properties"].(object)
	properties["targets"] = object{
		"type": "object", "minProperties": 1,
		"additionalProperties": object{
			"type": "object", "required": []string{"connector"},
			"properties": object{"connector": object{"enum": names}},
			"allOf":      choices,
		},
	}
	return root
}

// mapping is the schema of structs that share one mapping of the file.
func (g *schemaMaker) mapping(structs ...reflect.Type) object {
	properties := object{}
	var required []string
	for _, s := range structs {
		g.properties(s, properties, &required)
	}
	out := object{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		out["required"] = slices.Compact(slices.Sorted(slices.Values(required)))
	}
	return out
}

func (g *schemaMaker) properties(s reflect.Type, into object, required *[]string) {
	g.open[s] = true
	defer delete(g.open, s)
	docs := g.docOf(s)
	for f := range s.Fields() {
		key := keyOf(f)
		switch {
		case key == "" && f.Anonymous, strings.HasSuffix(f.Tag.Get("yaml"), ",inline"):
			g.properties(f.Type, into, required)
		case key != "" && key != "-":
			value := g.value(f.Type, f.Tag)
			if doc := strings.Join(strings.Fields(docs.fields[f.Name]), " "); doc != "" {
				value["description"] = doc
			}
			into[key] = value
			secret := g.secretKey(key, f.Type, into)
			if f.Tag.Get("required") == "true" && !secret {
				*required = append(*required, key)
			}
		}
	}
}

// secretKey adds the key of a secret that comes from a file, and reports whether the
// field is one.
func (g *schemaMaker) secretKey(key string, of reflect.Type, into object) bool {
	switch of {
	case reflect.TypeFor[connector.Secret]():
		into[key+"_file"] = object{"type": "string"}
	case reflect.TypeFor[[]connector.Secret]():
		into[strings.TrimSuffix(key, "s")+"_files"] = object{"type": "array", "items": object{"type": "string"}}
	default:
		return false
	}
	return true
}

// fromEnvironment is a value that the environment gives.
const fromEnvironment = `\$\{[^}]*\}`

func (g *schemaMaker) value(of reflect.Type, tag reflect.StructTag) object {
	if named, ok := namedValue(of); ok {
		return object{"type": "object", "additionalProperties": g.value(named, tag)}
	}
	if of.Kind() == reflect.Pointer {
		return g.value(of.Elem(), tag)
	}
	if choice := tag.Get("oneof"); choice != "" && of.Kind() == reflect.String {
		return object{"anyOf": []any{object{"enum": strings.Fields(choice)}, object{"type": "string", "pattern": fromEnvironment}}}
	}
	switch of {
	case reflect.TypeFor[connector.Secret](), reflect.TypeFor[connector.Text]():
		return object{"type": []string{"string", "number", "boolean"}}
	case reflect.TypeFor[connector.Expr]():
		return object{"type": []string{"string", "number", "boolean"}}
	case reflect.TypeFor[connector.Tree]():
		return object{"type": []string{"string", "number", "boolean", "object"}}
	case reflect.TypeFor[connector.Bytes]():
		return object{"type": []string{"string", "integer"}}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "string", "pattern": `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|` + fromEnvironment}
	}
	value := g.plain(of, tag)
	if reflect.PointerTo(of).Implements(reflect.TypeFor[interface{ UnmarshalScalar(text string) error }]()) {
		if len(keysBelow(of)) == 0 && of.Kind() == reflect.Struct {
			return object{"type": "string"}
		}
		return object{"anyOf": []any{object{"type": "string"}, value}}
	}
	return value
}

// plain is the schema of a type by its kind.
func (g *schemaMaker) plain(of reflect.Type, tag reflect.StructTag) object {
	switch kind := of.Kind(); {
	case reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return object{"type": []string{"string", "integer"}}
	case kind == reflect.Struct && g.open[of]:
		return object{"type": "object"}
	case kind == reflect.Struct:
		return g.mapping(of)
	case kind == reflect.Slice:
		return object{"type": "array", "items": g.value(of.Elem(), tag)}
	case kind == reflect.Map:
		return object{"type": "object", "additionalProperties": g.value(of.Elem(), tag)}
	case kind == reflect.Bool:
		return object{"anyOf": []any{object{"type": "boolean"}, object{"type": "string", "pattern": fromEnvironment}}}
	case kind == reflect.String:
		return object{"type": []string{"string", "number", "boolean"}}
	}
	number := object{"type": "number"}
	for bound, word := range map[string]string{"min": "minimum", "max": "maximum"} {
		if n, err := strconv.ParseFloat(tag.Get(bound), 64); err == nil {
			number[word] = n
		}
	}
	return object{"anyOf": []any{number, object{"type": "string", "pattern": fromEnvironment}}}
}

// keysBelow lists the keys of a struct.
func keysBelow(of reflect.Type) (keys []string) {
	if of.Kind() == reflect.Struct {
		for f := range of.Fields() {
			if key := keyOf(f); key != "" && key != "-" || f.Anonymous {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
