package caldav

import (
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// Config is the part of a target that connector caldav reads.
type Config struct {
	httpclient.Config `yaml:",inline"`
	// URL is the calendar: the collection that the events are put into.
	URL string `yaml:"url" required:"true"`
	// Map makes the calendar event of a policy: summary and start, and end or duration,
	// rrule, timezone, description, location, status, categories, url.
	Map *connector.Tree `yaml:"map" required:"true"`
}

// properties are what a map may hold.
var properties = []string{
	"summary", "start", "end", "duration", "rrule", "timezone", "description", "location", "status", "categories", "url",
}

// Validate reports what the types of the fields cannot say.
func (c *Config) Validate() []connector.Mistake {
	var ms []connector.Mistake
	u, err := httpclient.ParseURL(c.URL)
	switch {
	case err != nil:
		ms = append(ms, connector.Mistake{Path: "url", Message: err.Error()})
	case u.RawQuery != "" || u.Fragment != "":
		ms = append(ms, connector.Mistake{Path: "url", Message: "a calendar's URL has no ? and no #"})
	}
	if c.Map.Fields == nil { // one expression makes the whole
		return ms
	}
	given := map[string]bool{}
	for _, f := range c.Map.Fields {
		given[f.Name] = true
		if !slices.Contains(properties, f.Name) {
			ms = append(ms, connector.Mistake{
				Path: "map." + f.Name, Message: "no property of an event: want one of " + strings.Join(properties, ", "),
			})
		}
	}
	for _, name := range properties[:2] {
		if !given[name] {
			ms = append(ms, connector.Mistake{Path: "map", Message: name + " is missing"})
		}
	}
	if given["end"] && given["duration"] {
		ms = append(ms, connector.Mistake{Path: "map", Message: "an event has an end or a duration, not both"})
	}
	return ms
}

// ChecksVersions implements [connector.Guard]: an event is replaced only by a newer version.
func (c *Config) ChecksVersions() bool { return true }
