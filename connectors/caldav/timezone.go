package caldav

import (
	"fmt"
	"time"

	"github.com/emersion/go-ical"
)

// horizon is for how many years an event tells when clocks change. Clients that
// know the zone by its name need none of it.
const horizon = 10

// timezone describes a zone from the given time on, as an event that refers to it
// must (RFC 5545, section 3.6.5): one part per change of clocks, with its dates.
func timezone(zone *time.Location, from time.Time) *ical.Component {
	c := ical.NewComponent(ical.CompTimezone)
	c.Props.SetText(ical.PropTimezoneID, zone.String())
	parts := map[string]*ical.Component{}
	end := from.AddDate(horizon, 0, 0)
	for at := from.In(zone); at.Before(end); {
		begins, ends := at.ZoneBounds()
		name, to := at.Zone()
		before := to
		if begins.IsZero() { // the zone has always been so
			begins = time.Date(1970, 1, 1, 0, 0, 0, 0, time.FixedZone("", to))
		} else {
			_, before = begins.Add(-time.Second).Zone()
		}
		kind := ical.CompTimezoneStandard
		if at.IsDST() {
			kind = ical.CompTimezoneDaylight
		}
		local := ical.NewProp(ical.PropDateTimeStart) // what clocks showed before the change
		local.Value = begins.In(time.FixedZone("", before)).Format("20060102T150405")
		id := fmt.Sprint(kind, name, before, to)
		if part := parts[id]; part != nil {
			local.Name = ical.PropRecurrenceDates
			part.Props.Add(local)
		} else {
			part = ical.NewComponent(kind)
			part.Props.Set(local)
			part.Props.SetText(ical.PropTimezoneName, name)
			setOffset(part.Props, ical.PropTimezoneOffsetFrom, before)
			setOffset(part.Props, ical.PropTimezoneOffsetTo, to)
			parts[id] = part
			c.Children = append(c.Children, part)
		}
		if ends.IsZero() {
			break
		}
		at = ends
	}
	return c
}

func setOffset(props ical.Props, name string, seconds int) {
	p := ical.NewProp(name)
	p.Value = time.Unix(0, 0).In(time.FixedZone("", seconds)).Format("-0700")
	props.Set(p)
}
