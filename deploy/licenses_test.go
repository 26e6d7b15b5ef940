// Package deploy_test holds what is shipped against the licences of what it is made of.
package deploy_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write NOTICE anew")

const notice = "../NOTICE"

// licences are those that a module of the binary may have, known by words that only
// their text has; the first that fits. MPL binds changes to the module's own files, of
// which there are none.
var licences = []struct {
	name  string
	words *regexp.Regexp
}{
	{"MPL-2.0", words("Mozilla Public License Version 2.0")},
	{"Apache-2.0", words("Apache License Version 2.0")},
	{"Apache-2.0", words("Licensed under the Apache License, Version 2.0")},
	{"ISC", words("Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted")},
	{"ISC", words("Permission to use, copy, modify, and distribute this software for any purpose with or without fee is hereby granted")},
	{"MIT", words("Permission is hereby granted, free of charge, to any person obtaining a copy of this software")},
	{"BSD", words("Redistribution and use in source and binary forms, with or without modification, are permitted")},
	{"Unlicense", words("This is free and unencumbered software released into the public domain")},
}

// words matches a text however its lines are broken.
func words(s string) *regexp.Regexp {
	parts := strings.Fields(s)
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?i)` + strings.Join(parts, `[\s*/#,]+`))
}

// A module whose licence is none of these is not shipped, and NOTICE lists them all
// with what their own notices ask to be passed on.
func TestNotice(t *testing.T) {
	t.Parallel()
	var list, notices strings.Builder
	for _, m := range modules(t) {
		path, dir, _ := strings.Cut(m, " ")
		list.WriteString("- " + path + ": " + licence(t, path, dir) + "\n")
		own, err := os.ReadFile(filepath.Join(dir, "NOTICE"))
		if err == nil {
			notices.WriteString("\n## " + path + "\n\n" + strings.TrimSpace(string(own)) + "\n")
		}
	}
	got := "policysync\nLicensed under the Apache License, Version 2.0: see LICENSE.\n\n" +
		"The binary holds the Go standard library (BSD) and these modules. The image has their licences in /licenses.\n\n" +
		list.String() + notices.String()
	if *update {
		require.NoError(t, os.WriteFile(notice, []byte(got), 0o644))
	}
	want, err := os.ReadFile(notice)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), got), "run: make generate")
}

// modules are those in the binary, each with its directory.
func modules(t *testing.T) []string {
	t.Helper()
	c := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		"{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "../cmd/policysync")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	out, err := c.Output()
	require.NoError(t, err)
	all := strings.Split(strings.TrimSpace(string(out)), "\n")
	slices.Sort(all)
	all = slices.DeleteFunc(slices.Compact(all), func(m string) bool { return m == "" })
	require.NotEmpty(t, all)
	return all
}

func licence(t *testing.T, path, dir string) string {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, f := range files {
		if upper := strings.ToUpper(f.Name()); !strings.HasPrefix(upper, "LICEN") && !strings.HasPrefix(upper, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		for _, l := range licences {
			if l.words.Match(text) {
				return l.name
			}
		}
	}
	require.Failf(t, "no licence that may be shipped", "%s in %s", path, dir)
	return ""
}
