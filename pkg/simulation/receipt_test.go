package simulation

import (
	"errors"
	"time"

	"github.com/hms-sme/policysync/pkg/receipt"
)

// proof is the compacted topic of receipts, as a reader understands it. World.mu
// guards it.
type proof map[proofKey]receipt.Receipt

type proofKey struct {
	kind        receipt.Kind
	target, key string
	partition   int
}

func keyOf(r *receipt.Receipt) proofKey {
	return proofKey{r.Kind(), r.Target, r.Key, int(r.Source.Partition)}
}

func (p proof) add(r receipt.Receipt) {
	k := keyOf(&r)
	if old, ok := p[k]; !ok || !r.Late(&old) {
		p[k] = r
	}
}

// has reports whether there is a receipt of an offset, or of a later one of its key.
func (p proof) has(kind receipt.Kind, target, key string, partition int, offset int64) bool {
	r, ok := p[proofKey{kind, target, key, partition}]
	return ok && r.Source.Offset >= offset
}

// prove writes the receipts of a commit to their topic. After an error some of them may be
// written, and the answer is lost for some of those.
func (p *process) prove(h *holding, rs []receipt.Receipt, n int) error {
	w := p.w
	<-time.After(w.upTo(20*time.Millisecond, forReceipt, p.member, p.life, n))
	w.mu.Lock()
	defer w.mu.Unlock()
	if most := 2 * len(h.targets) * keys; len(rs) > most {
		w.check.fail("%d receipts for one commit of partition %d, of %d keys and kinds", len(rs), h.seat.log.id, most)
	}
	trouble := p.dead || time.Now().Before(w.receiptsBack)
	var left []receipt.Receipt
	for i, r := range rs {
		written := !p.dead && (!trouble || w.oneIn(2, forReceipt, p.member, p.life, n, i))
		if written {
			w.check.proof.add(r)
		}
		if !written || trouble && w.oneIn(2, forReceipt, p.member, p.life, n, i, len(rs)) {
			left = append(left, r)
		}
	}
	h.part.Saved(left...)
	if len(left) > 0 {
		return errors.New("receipts are not acknowledged")
	}
	return nil
}

// proven checks that nothing is committed that can't be proven. Without proof it checks
// nothing.
func (c *checker) proven(where, target string, partition int, offset int64) {
	r, t := c.logs[partition].entries[offset], c.ledgers[target][partition].at(offset)
	if c.proof == nil || r == nil || r.Key == nil || offset < c.ledgers[target][partition].owed || t.reported || !c.garbage(r) && !c.wanted(r, target) {
		return
	}
	plan := c.plans[c.targets[target]]
	least := offset
	if c.garbage(r) || plan.latest() || plan.ordered() {
		least = 0 // the letter of an earlier one of the key may have come later
	}
	held := c.proof.has(receipt.KindHeld, target, string(r.Key), partition, least)
	last := c.proof.has(receipt.KindLast, target, string(r.Key), partition, least)
	strict := !plan.latest() && t.acked != t.lettered // else it may have settled otherwise, or again, in another life
	if strict && t.acked && !held || strict && t.lettered && !last || !held && !last {
		c.fail("%s: %d has no receipt of %.8s, held %v, last %v", where, offset, target, held, last)
	}
}
