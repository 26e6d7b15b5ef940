package delivery

import (
	"slices"
	"time"
)

// holdKeys is how many distinct keys the ratio of permanent failures is taken of.
const holdKeys = 20

// hold tells many bad policies from one bad target. When over ratio of the last
// holdKeys distinct keys ended permanent and none succeeded, the target is held:
// only canaries are attempted, none is dead-lettered, and the first success
// releases it.
type hold struct {
	ratio  float64
	recent []holdEntry // oldest first, one per key

	active  bool
	until   time.Time // of the next canary
	failed  int       // canaries in a row
	changed func(held bool)
}

type holdEntry struct {
	key string
	how ending
}

type ending uint8

const (
	endedOther ending = iota
	endedWell
	endedForGood
)

// note records how a key ended, and starts or ends the hold.
func (h *hold) note(key string, o ending) {
	if o == endedWell {
		h.release()
		// What lies before a success leaves the window before it does.
		h.recent = append(h.recent[:0], holdEntry{key, o})
		return
	}
	h.recent = slices.DeleteFunc(h.recent, func(e holdEntry) bool { return e.key == key })
	if len(h.recent) == holdKeys {
		h.recent = slices.Delete(h.recent, 0, 1)
	}
	h.recent = append(h.recent, holdEntry{key, o})
	permanent := 0
	for _, e := range h.recent {
		switch e.how {
		case endedWell:
			return
		case endedForGood:
			permanent++
		case endedOther:
		}
	}
	if !h.active && float64(permanent) > h.ratio*holdKeys {
		h.active = true
		h.changed(true)
	}
}

// release ends the hold.
func (h *hold) release() {
	if h.active {
		h.active, h.failed, h.until = false, 0, time.Time{}
		h.changed(false)
	}
}
