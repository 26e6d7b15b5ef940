package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/control"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/verify"
)

// Discrepancy is a key, or a name that no key accounts for, at which a target differs
// from the source.
type Discrepancy struct {
	Difference connector.Difference `json:"difference"`
	Key        string               `json:"key,omitempty"`
	// Name is what a target calls what no key of the source accounts for.
	Name    string                      `json:"name,omitempty"`
	Version *int64                      `json:"version,omitempty"`
	Topic   string                      `json:"topic,omitempty"`
	Part    int32                       `json:"partition"`
	Offset  int64                       `json:"offset"`
	Fields  []connector.FieldDifference `json:"fields,omitempty"`
	// Repaired reports that the newest version was pushed again; RepairError why not.
	Repaired    bool   `json:"repaired,omitempty"`
	RepairError string `json:"repair_error,omitempty"`
}

// Verification sums up.
type Verification struct {
	Target string `json:"target"`
	// Records and Keys are how many the source holds for the target.
	Records int64 `json:"records"`
	Keys    int   `json:"keys"`
	// Pending keys were not compared: their newest version has not settled yet.
	Pending int `json:"pending"`
	// Unreadable records have no part in it: they are dead letters.
	Unreadable  int                          `json:"unreadable"`
	Differences map[connector.Difference]int `json:"differences"`
	Repaired    int                          `json:"repaired"`
	// Left is how many differences are left.
	Left int `json:"left"`
}

// VerifyOptions are what to verify and whether to repair.
type VerifyOptions struct {
	Target string
	// Repair pushes the newest version of what is missing, stale or different again, with
	// Command at the end of the idempotency key. AllowOldVersions lets it also where the
	// target has no guard that keeps it from replacing what the service pushes meanwhile.
	Repair, AllowOldVersions bool
	Command                  string
	// Progress is told how many of how many records were read.
	Progress func(pass int, read, all int64)
	Each     func(*Discrepancy) error
}

// verifyBatch is how many keys are compared at once.
const verifyBatch = 1000

// Verify compares a target with the newest version of each key in the source. It
// reads the source twice: first to see which record is the newest of each key, of
// which it keeps only the place, then to map those.
func Verify(ctx context.Context, cfg *config.Config, registry connector.Registry, o VerifyOptions, log *slog.Logger) (*Verification, error) {
	plan, err := NewPlan(ctx, cfg, registry)
	if err != nil {
		return nil, err
	}
	adm, err := kafka.NewAdmin(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	t, err := plan.wanted(o.Target)
	if err != nil {
		return nil, err
	}
	if o.Repair && !o.AllowOldVersions && !ChecksVersions(t.Target) {
		return nil, &OldVersionsError{"a repair may come after a newer version that the service pushes meanwhile"}
	}
	v := &verifier{wants: t, adm: adm, byOffset: plan.byOffset(t.Target, log), o: o}
	if v.conn, err = plan.connector(ctx, t.Target, log); err != nil {
		return nil, err
	}
	defer v.conn.Close(ctx)
	var ok bool
	if v.comparer, ok = v.conn.(connector.Comparer); !ok {
		return nil, fmt.Errorf("target %q (%s): %w", t.Name, t.Connector, connector.ErrNotComparable)
	}
	if o.Repair {
		done := &control.Done{ID: NewCommandID(), What: control.DoneRepair, Target: t.Name, Command: o.Command, Origin: Origin("")}
		if err := give(ctx, cfg, adm, done); err != nil {
			return nil, err
		}
	}
	return v.run(ctx)
}

type verifier struct {
	*wants

	adm      *kafka.Admin
	byOffset bool
	conn     connector.Connector
	o        VerifyOptions

	comparer connector.Comparer
	progress []kafka.PartitionProgress
	newest   *verify.Newest
	wanted   map[verify.Place][]int64
	ends     map[verify.Place]int64
	batch    []mapped
	// names are accounted for by keys; before are those that the target held when it
	// began.
	names, before map[verify.Hash]struct{}
	// newer are held back until it is known which keys have changed since.
	newer   map[verify.Hash]*Discrepancy
	changed map[verify.Hash]struct{}
	sum     Verification
}

// mapped is the newest version of a key; a delete stands for one that can't be mapped,
// to find what the target has of it.
type mapped struct {
	delivery *connector.Delivery
	err      error
}

func (v *verifier) run(ctx context.Context) (*Verification, error) {
	v.newest, v.names = verify.NewNewest(v.byOffset), map[verify.Hash]struct{}{}
	v.newer, v.changed = map[verify.Hash]*Discrepancy{}, map[verify.Hash]struct{}{}
	v.sum = Verification{Target: v.Name, Differences: map[connector.Difference]int{}}
	var err error
	if v.progress, err = v.adm.Progress(ctx); err != nil {
		return nil, err
	}
	v.before = map[verify.Hash]struct{}{}
	err = v.comparer.Names(ctx, func(name string) error { v.before[verify.HashOf(name)] = struct{}{}; return nil })
	if err != nil {
		return nil, fmt.Errorf("list what %s holds: %w", v.Name, err)
	}
	v.ends = map[verify.Place]int64{}
	if err := v.pass(ctx, 1, v.see); err != nil {
		return nil, err
	}
	v.sum.Keys, v.wanted = v.newest.Len(), v.newest.Offsets()
	v.newest = nil // memory
	if err := v.pass(ctx, 2, v.look); err != nil {
		return nil, err
	}
	if err := v.compare(ctx); err != nil {
		return nil, err
	}
	for h, f := range v.newer {
		if _, changed := v.changed[h]; !changed {
			if err := v.report(f); err != nil {
				return nil, err
			}
		}
	}
	return &v.sum, v.extras(ctx)
}

// pass reads what the topics hold at present.
func (v *verifier) pass(ctx context.Context, number int, each func(context.Context, *event.Record) error) error {
	spans, err := v.adm.Spans(ctx, time.Time{}, v.topics()...)
	if err != nil {
		return err
	}
	var read, all int64
	for _, s := range spans {
		all += s.End - s.Start
		if number == 1 {
			v.ends[verify.Place{Topic: s.Topic, Partition: s.Partition}] = s.End
		}
	}
	return v.adm.Scan(ctx, spans, func(r *event.Record) error {
		if read++; read%1000 == 0 || read == all {
			v.o.Progress(number, read, all)
		}
		return each(ctx, r)
	})
}

// event reads a record as a member would; nil if it is not for the target. What can't
// be read is a dead letter and has no part in it.
func (v *verifier) event(ctx context.Context, r *event.Record) (*event.Event, error) {
	ev, err := v.plan.event(ctx, r)
	if err != nil {
		return nil, err
	}
	verdict := v.plan.Router.Route(ev).Targets[v.index]
	if verdict.Err != nil || !verdict.Deliver || !ev.HasKey {
		return nil, verdict.Err
	}
	return ev, nil
}

func (v *verifier) see(ctx context.Context, r *event.Record) error {
	v.sum.Records++
	ev, err := v.event(ctx, r)
	switch {
	case err != nil && ctx.Err() != nil:
		return err
	case err != nil:
		v.sum.Unreadable++
	case ev != nil:
		v.newest.Add(ev)
	}
	return nil
}

// look takes a record up if it is the newest of its key.
func (v *verifier) look(ctx context.Context, r *event.Record) error {
	place := verify.Place{Topic: r.Topic, Partition: r.Partition}
	if r.Offset >= v.ends[place] {
		if ev, err := v.event(ctx, r); err == nil && ev != nil {
			v.changed[verify.HashOf(ev.Key)] = struct{}{}
		}
		return nil
	}
	wanted := v.wanted[place]
	for len(wanted) > 0 && wanted[0] < r.Offset { // compacted since: there is a newer one
		wanted = wanted[1:]
	}
	v.wanted[place] = wanted
	if len(wanted) == 0 || wanted[0] != r.Offset {
		return nil
	}
	v.wanted[place] = wanted[1:]
	ev, err := v.event(ctx, r)
	if err != nil {
		return fmt.Errorf("read record %s again: %w", r.Position, err)
	}
	d := v.plan.delivery(v.Target, ev, v.byOffset)
	d.ID = fmt.Sprintf("%s/%d/%d/%s", r.TopicID, r.Partition, r.Offset, v.Name)
	m, err := v.prepare(d)
	if err != nil {
		return err
	}
	if v.batch = append(v.batch, m); len(v.batch) < verifyBatch {
		return nil
	}
	return v.compare(ctx)
}

func (v *verifier) prepare(d *connector.Delivery) (mapped, error) {
	p, ok := v.conn.(connector.Preparer)
	if !ok {
		return mapped{delivery: d}, nil
	}
	err := p.Prepare(d)
	if err == nil {
		return mapped{delivery: d}, nil
	}
	d.Op = connector.Delete
	if again := p.Prepare(d); again != nil {
		return mapped{}, fmt.Errorf("find policy %q: %w", d.Key, again)
	}
	return mapped{d, err}, nil
}

// pending reports whether the target may not have had the record yet.
func (v *verifier) pending(p event.Position) bool {
	for i := range v.progress {
		at := &v.progress[i]
		if at.Topic != p.Topic || at.Partition != p.Partition || at.Committed < 0 {
			continue
		}
		for _, l := range at.Lanes {
			if l.Name == v.Name {
				return !l.Cursor.Settled(p.Offset)
			}
		}
		return p.Offset >= at.Committed
	}
	return false
}

// compare compares what was taken up.
func (v *verifier) compare(ctx context.Context) error {
	batch := v.batch
	if v.batch = nil; len(batch) == 0 {
		return nil
	}
	ds := make([]*connector.Delivery, len(batch))
	for i, m := range batch {
		ds[i] = m.delivery
	}
	found, err := v.comparer.Compare(ctx, ds)
	if err != nil {
		return fmt.Errorf("compare %s: %w", v.Name, err)
	}
	var differ []*Discrepancy
	var cures []*connector.Delivery
	for i, d := range ds {
		for _, name := range found[i].Names {
			v.names[verify.HashOf(name)] = struct{}{}
		}
		switch {
		case v.pending(d.Event.Position):
			v.sum.Pending++
			continue
		case batch[i].err != nil:
			found[i].Difference = connector.Different
			found[i].Fields = []connector.FieldDifference{{Want: "not to be mapped: " + batch[i].err.Error()}}
		case found[i].Difference == "":
			continue
		}
		f := &Discrepancy{
			Difference: found[i].Difference, Key: d.Key, Fields: found[i].Fields,
			Topic: d.Event.Topic, Part: d.Event.Partition, Offset: d.Event.Offset,
		}
		if d.Event.HasVersion {
			f.Version = &d.Event.Version
		}
		if f.Difference == connector.Newer {
			v.newer[verify.HashOf(d.Key)] = f
			continue
		}
		if differ = append(differ, f); batch[i].err != nil {
			d = nil
		}
		cures = append(cures, d)
	}
	if v.o.Repair {
		if err := v.repair(ctx, differ, cures); err != nil {
			return err
		}
	}
	for _, f := range differ {
		if err := v.report(f); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) report(f *Discrepancy) error {
	v.sum.Differences[f.Difference]++
	if f.Repaired {
		v.sum.Repaired++
	} else {
		v.sum.Left++
	}
	return v.o.Each(f)
}

// extras reports what the target has held all the time and no key accounts for.
func (v *verifier) extras(ctx context.Context) error {
	err := v.comparer.Names(ctx, func(name string) error {
		h := verify.HashOf(name)
		_, known := v.names[h]
		if _, before := v.before[h]; known || !before {
			return nil
		}
		v.names[h] = struct{}{} // once
		return v.report(&Discrepancy{Difference: connector.Extra, Name: name})
	})
	if err != nil {
		return fmt.Errorf("list what %s holds: %w", v.Name, err)
	}
	return nil
}
