package mapping

import (
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// regexFunction is a function whose second argument is a regular expression (RE2).
// They are named, and do, as CEL's own extension has it; that one breaks the
// suggestions for misspelt words.
type regexFunction struct {
	name, overload string
	args           []*cel.Type
	result         *cel.Type
	apply          func(re *regexp.Regexp, args []ref.Val) ref.Val
}

var regexFunctions = []regexFunction{
	{"regex.extract", "regex_extract_string_string", texts(2), cel.OptionalType(cel.StringType), extract},
	{"regex.extractAll", "regex_extractAll_string_string", texts(2), cel.ListType(cel.StringType), extractAll},
	{"regex.replace", "regex_replace_string_string_string", texts(3), cel.StringType, replace},
}

func texts(n int) []*cel.Type {
	list := make([]*cel.Type, n)
	for i := range list {
		list[i] = cel.StringType
	}
	return list
}

// declare makes the function known. A pattern that is no literal is compiled at each
// call.
func (f regexFunction) declare() cel.EnvOption {
	return cel.Function(f.name, cel.Overload(f.overload, f.args, f.result, cel.FunctionBinding(func(args ...ref.Val) ref.Val {
		re, err := regexp.Compile(native[string](args[1]))
		if err != nil {
			return types.WrapErr(fmt.Errorf("%s: %w", f.name, err))
		}
		return f.apply(re, args)
	})))
}

// optimization compiles a literal pattern once, when the expression is: a mistake in
// it is found when the config is loaded.
func (f regexFunction) optimization() *interpreter.RegexOptimization {
	return &interpreter.RegexOptimization{
		Function: f.name, OverloadID: f.overload, RegexIndex: 1,
		Factory: func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
			re, err := regexp.Compile(pattern)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.name, err)
			}
			return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(args ...ref.Val) ref.Val {
				for _, arg := range args {
					if types.IsUnknownOrError(arg) {
						return arg
					}
				}
				return f.apply(re, args)
			}), nil
		},
	}
}

// group is the place of a match's result: of its one group, or of the whole.
func group(re *regexp.Regexp) (int, error) {
	if n := re.NumSubexp(); n > 1 {
		return 0, fmt.Errorf("%q has %d groups, want one or none: write others as (?:…)", re, n)
	}
	return re.NumSubexp(), nil
}

func extract(re *regexp.Regexp, args []ref.Val) ref.Val {
	g, err := group(re)
	if err != nil {
		return types.WrapErr(err)
	}
	match := re.FindStringSubmatchIndex(native[string](args[0]))
	if match == nil || match[2*g] < 0 {
		return types.OptionalNone
	}
	return types.OptionalOf(types.String(native[string](args[0])[match[2*g]:match[2*g+1]]))
}

func extractAll(re *regexp.Regexp, args []ref.Val) ref.Val {
	g, err := group(re)
	if err != nil {
		return types.WrapErr(err)
	}
	found := []string{}
	for _, match := range re.FindAllStringSubmatchIndex(native[string](args[0]), -1) {
		if match[2*g] >= 0 {
			found = append(found, native[string](args[0])[match[2*g]:match[2*g+1]])
		}
	}
	return types.NewStringList(types.DefaultTypeAdapter, found)
}

// replace puts a text in the place of each match, in which \1 stands for what the
// first group found, \0 for all of it, and \\ for a backslash.
func replace(re *regexp.Regexp, args []ref.Val) ref.Val {
	text, with := native[string](args[0]), native[string](args[2])
	var out strings.Builder
	end := 0
	for _, match := range re.FindAllStringSubmatchIndex(text, -1) {
		out.WriteString(text[end:match[0]])
		end = match[1]
		for i := 0; i < len(with); i++ {
			if with[i] != '\\' {
				out.WriteByte(with[i])
				continue
			}
			if i++; i < len(with) && with[i] == '\\' {
				out.WriteByte('\\')
				continue
			}
			if i >= len(with) || with[i] < '0' || int(with[i]-'0') > re.NumSubexp() {
				return types.WrapErr(fmt.Errorf(`replace by %q: want \0 to \%d, or \\, after a backslash`, with, min(re.NumSubexp(), 9)))
			}
			if g := 2 * int(with[i]-'0'); match[g] >= 0 {
				out.WriteString(text[match[g]:match[g+1]])
			}
		}
	}
	return types.String(out.String() + text[end:])
}
