//go:build e2e

package chaos

import (
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// readHeld reads what the receipts said, one after the other, that targets hold.
func (w *world) readHeld() (all []*receipt.Receipt) {
	w.t.Helper()
	for _, r := range w.readTopic(w.topic + ".receipts") {
		if kind, _, _, err := receipt.ParseKey(r.Key); err != nil || kind != receipt.KindHeld {
			require.NoError(w.t, err)
			continue
		}
		held, err := receipt.Decode(r.Key, r.Value)
		require.NoError(w.t, err)
		all = append(all, held)
	}
	return all
}

// holding folds the receipts of a target as their readers do: what it holds of each key.
func (h *history) holding(target string) map[string]*receipt.Receipt {
	last := map[string]*receipt.Receipt{}
	for _, r := range h.held {
		if r.Target == target && (last[r.Key] == nil || !r.Late(last[r.Key])) {
			last[r.Key] = r
		}
	}
	return last
}

// checkReceipts: each receipt names what the target had been given by then, and in the
// end those of all keys name what it has.
func (l *lane) checkReceipts() (findings []finding) {
	for _, r := range l.receipts {
		o := r.Source.Offset
		rec := l.records[o]
		has := false
		for _, a := range l.by[o] {
			has = has || a.settles() && !a.ended.After(r.Time)
		}
		if !has || r.Key != rec.key || r.Deleted != (rec.kind == tombstone) || r.HasVersion && r.Version != rec.version {
			findings = append(findings, l.finding(unproven, o, "receipt of %s v%d, deleted %t, at %s; %s", r.Key, r.Version, r.Deleted, stamp(r.Time), l.account(o)))
		}
	}
	if !l.last {
		return findings
	}
	for key, a := range l.newest() {
		r := l.holding[key]
		switch {
		case !a.settles(), l.unlearnt(a), l.halted(a.member, a.ended): // nobody can know
		case r == nil:
			findings = append(findings, l.finding(unproven, a.offset, "no receipt; %s", l.account(a.offset)))
		case r.Source.Partition == l.partition && r.Source.Offset != a.offset:
			findings = append(findings, l.finding(unproven, a.offset, "is what the target has, the receipt names %d; %s", r.Source.Offset, l.account(a.offset)))
		}
	}
	return findings
}
