package connectors

import (
	"cmp"
	"encoding"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
)

const module = "github.com/hms-sme/policysync/"

// optionsOf writes the table of the keys that a config struct has, from its tags
// and the doc comments of its fields.
func optionsOf(t *testing.T, cfg any) string {
	t.Helper()
	r := reference{t: t, packages: map[string]map[string]structDoc{}}
	r.fields(reflect.TypeOf(cfg).Elem(), "")
	return "| option | value | default | meaning |\n|---|---|---|---|\n" + r.rows.String()
}

// reference walks a config struct.
type reference struct {
	t        *testing.T
	packages map[string]map[string]structDoc
	rows     strings.Builder

	// above are the structs around the one that is walked: one inside itself is not
	// walked again.
	above []reflect.Type
}

// structDoc holds the doc comments of a struct and of its fields.
type structDoc struct {
	doc    string
	fields map[string]string
}

func (r *reference) fields(s reflect.Type, path string) {
	if slices.Contains(r.above, s) {
		return
	}
	r.above = append(r.above, s)
	defer func() { r.above = r.above[:len(r.above)-1] }()
	docs := r.docOf(s)
	keys := keysOf(s)
	for f := range s.Fields() {
		key := keyOf(f)
		switch {
		case key == "" && f.Anonymous, strings.HasSuffix(f.Tag.Get("yaml"), ",inline"):
			r.fields(f.Type, path)
		case f.Type == reflect.TypeFor[[]config.Target](): // a table of their own
		case key != "" && key != "-":
			r.option(f, path+key, inKeys(docs.fields[f.Name], keys))
		}
	}
}

// keysOf returns the keys of a struct by the names of its fields.
func keysOf(s reflect.Type) map[string]string {
	keys := map[string]string{}
	for f := range s.Fields() {
		if key := keyOf(f); key != "" && key != "-" {
			keys[f.Name] = key
		}
	}
	return keys
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

func (r *reference) option(f reflect.StructField, key, meaning string) {
	of := f.Type
	if value, named := namedValue(of); named {
		key, of = key+".NAME", value
	}
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	value, leaf := valueOf(of, f.Tag)
	if !leaf {
		doc := r.docOf(of)
		keys := keysOf(of)
		keys[of.Name()] = key[strings.LastIndex(key, ".")+1:]
		meaning = cmp.Or(meaning, inKeys(doc.doc, keys))
	}
	fallback := f.Tag.Get("default")
	if fallback != "" {
		fallback = "`" + fallback + "`"
	}
	if f.Tag.Get("required") == "true" {
		fallback = "required"
	}
	if !strings.Contains(key, ".") { // what is below may be told by the comment above it
		require.NotEmpty(r.t, meaning, "%s has no doc comment", key)
	}
	fmt.Fprintf(&r.rows, "| %s | %s | %s | %s |\n", spell(key, of), value, fallback, strings.ReplaceAll(meaning, "|", `\|`))
	if !leaf {
		r.fields(of, key+".")
	}
}

// namedValue returns what the entries of a []connector.Named hold.
func namedValue(of reflect.Type) (reflect.Type, bool) {
	if of.Kind() != reflect.Slice || !strings.HasPrefix(of.Elem().Name(), "Named[") {
		return nil, false
	}
	f, _ := of.Elem().FieldByName("Value")
	return f.Type, true
}

// spell writes a key as the file may give it: a secret also comes from a file.
func spell(key string, of reflect.Type) string {
	switch of {
	case reflect.TypeFor[connector.Secret]():
		return "`" + key + "`, `" + key + "_file`"
	case reflect.TypeFor[[]connector.Secret]():
		return "`" + key + "`, `" + strings.TrimSuffix(key, "s") + "_files`"
	}
	return "`" + key + "`"
}

// valueOf says what to write for a type; false for a mapping with keys of its own.
func valueOf(of reflect.Type, tag reflect.StructTag) (value string, leaf bool) {
	if choice := tag.Get("oneof"); choice != "" {
		return strings.Join(strings.Fields(choice), ", "), true
	}
	switch of {
	case reflect.TypeFor[connector.Secret]():
		return "secret", true
	case reflect.TypeFor[[]connector.Secret]():
		return "list of secrets", true
	case reflect.TypeFor[connector.Expr]():
		return "expression", true
	case reflect.TypeFor[connector.Text]():
		return "text with `{expression}`", true
	case reflect.TypeFor[connector.Tree]():
		return "map of expressions", true
	case reflect.TypeFor[connector.Bytes]():
		return "size", true
	case reflect.TypeFor[time.Duration]():
		return "duration", true
	}
	switch kind := of.Kind(); {
	case kind == reflect.Struct && reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return strings.ToLower(of.Name()), true
	case kind == reflect.Struct:
		return "mapping", false
	case kind == reflect.Slice:
		item, _ := valueOf(of.Elem(), "")
		return "list of " + item, true
	case kind == reflect.Map:
		return "a text by name", true
	case kind == reflect.Bool:
		return "true, false", true
	case kind == reflect.String:
		return "text", true
	}
	return "number", true
}

var goName = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`)

// inKeys makes one line of a doc comment, and of the fields that it names the keys
// that the file has.
func inKeys(doc string, keys map[string]string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	return goName.ReplaceAllStringFunc(doc, func(name string) string {
		if key, ok := keys[name]; ok {
			return "`" + key + "`"
		}
		return name
	})
}

// docOf reads the doc comments of a struct from its source.
func (r *reference) docOf(s reflect.Type) structDoc {
	structs, read := r.packages[s.PkgPath()]
	if !read {
		structs = map[string]structDoc{}
		dir := filepath.Join("..", strings.TrimPrefix(s.PkgPath(), module))
		if s.PkgPath() == module+"connectors" {
			dir = "."
		}
		files, err := os.ReadDir(dir)
		require.NoError(r.t, err)
		for _, file := range files {
			if strings.HasSuffix(file.Name(), ".go") && !strings.HasSuffix(file.Name(), "_test.go") {
				parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file.Name()), nil, parser.ParseComments)
				require.NoError(r.t, err)
				collectDocs(parsed, structs)
			}
		}
		r.packages[s.PkgPath()] = structs
	}
	return structs[s.Name()]
}

func collectDocs(file *ast.File, into map[string]structDoc) {
	for _, decl := range file.Decls {
		types, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range types.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			s, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			d := structDoc{doc: plain(cmp.Or(t.Doc.Text(), types.Doc.Text())), fields: map[string]string{}}
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					d.fields[name.Name] = plain(f.Doc.Text())
				}
			}
			into[t.Name.Name] = d
		}
	}
}

// plain is the text of a doc comment's first paragraphs without links.
func plain(doc string) string {
	var p comment.Parser
	var pr comment.Printer
	pr.TextWidth = -1
	return string(pr.Text(p.Parse(doc)))
}
