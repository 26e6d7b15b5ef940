package receipt

import (
	"encoding/json"
	"fmt"
	"time"
)

// What becomes of a dead letter.
const (
	Redriven  = "redriven"
	Discarded = "discarded"
)

// Resolution says what became of a dead letter, by whom and why. The letter itself
// stays where it is.
type Resolution struct {
	// Letter is the id of the dead letter, that of the record's key.
	Letter string `json:"-"`
	// Outcome is Redriven or Discarded.
	Outcome string    `json:"outcome"`
	Time    time.Time `json:"time"`
	// By is who did it, as that person's machine knows them.
	By string `json:"by"`
	// Reason is in their own words. Encode cuts it to MaxText bytes.
	Reason string `json:"reason,omitempty"`
	// Command is the id of the command that redrove it, Result how that settled: one of
	// the outcomes of a receipt, or Filtered.
	Command string `json:"command,omitempty"`
	Result  string `json:"result,omitempty"`
}

// Encode returns the record that holds the resolution. It fails only if the time is
// of no year that RFC 3339 can write.
func (r *Resolution) Encode() (key, value []byte, err error) {
	key = fmt.Appendf(nil, "%s/%s", KindLetter, r.Letter)
	bounded := *r
	bounded.Time, bounded.By, bounded.Reason = r.Time.UTC(), Bounded(r.By), Bounded(r.Reason)
	if value, err = json.Marshal(bounded); err != nil {
		return nil, nil, fmt.Errorf("write resolution of letter %s: %w", r.Letter, err)
	}
	return key, value, nil
}

// DecodeResolution reads a letter/ record. Fields of a later release are passed over.
func DecodeResolution(key, value []byte) (*Resolution, error) {
	kind, _, id, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	r := &Resolution{}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, fmt.Errorf("read resolution %q: %w", key, err)
	}
	if kind != KindLetter || r.Outcome == "" {
		return nil, fmt.Errorf("read resolution %q: it has no outcome, or is of another kind", key)
	}
	r.Letter = id
	return r, nil
}
