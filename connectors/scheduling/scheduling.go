// Package scheduling owns the conventions of a scheduling API in the manner of
// Google Calendar: a rule belongs to a calendar, is created or replaced by one
// POST, and is deleted under its key. The calls themselves are made by connector
// http, of which these are defaults; package connectors joins the two.
package scheduling

import (
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Map returns the body of a rule, read from an event of the shipped schemas.
func Map() *connector.Tree {
	leaf := func(source string) *connector.Tree {
		return &connector.Tree{Expr: &connector.Expr{Source: source}}
	}
	return &connector.Tree{Fields: []connector.Branch{
		{Name: "calendarId", Tree: leaf("event.payload.agencyId")},
		{Name: "title", Tree: leaf("event.payload.name")},
		{Name: "rules", Tree: leaf("event.payload.rules")},
	}}
}

// RuleURL returns where the rule of a key is, below the URL of all rules: what a
// DELETE is sent to. It is nil for a URL of which that cannot be told: one that the
// event decides, or that has a query, to which the key would be appended.
func RuleURL(rules *connector.Text) *connector.Text {
	if rules.IsZero() || !rules.Constant() || strings.ContainsAny(rules.Source, "?#") {
		return nil
	}
	return &connector.Text{Source: strings.TrimSuffix(rules.Source, "/") + "/{key}", Parts: []connector.Part{
		{Literal: strings.TrimSuffix(rules.Parts[0].Literal, "/") + "/"}, {Expr: &connector.Expr{Source: "key"}},
	}}
}
