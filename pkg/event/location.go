package event

import (
	"path"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones by name, also in an image that has no zone files
)

// locations are the zones that were asked for, by name.
var locations sync.Map

// LoadLocation is [time.LoadLocation], which reads the zone's file at each call, with a
// memory.
func LoadLocation(name string) (*time.Location, error) {
	held, _ := locations.Load(name)
	if known, ok := held.(*time.Location); ok {
		return known, nil
	}
	location, err := time.LoadLocation(name)
	if err == nil && path.Clean(name) == name { // one spelling each: names come from events
		locations.Store(strings.Clone(name), location) // a part of the record else
	}
	return location, err
}
