package app

import (
	"context"
	"fmt"

	"github.com/hms-sme/policysync/pkg/connector"
)

// repair pushes versions again, nil ones aside, and looks whether that has helped. The
// target's own guard keeps a version from replacing a newer one that the running
// service has pushed meanwhile.
func (v *verifier) repair(ctx context.Context, differ []*Discrepancy, cures []*connector.Delivery) error {
	var pushed []*connector.Delivery
	var of []*Discrepancy
	for i, d := range cures {
		if d == nil {
			continue
		}
		again := *d
		again.ID += "/" + v.o.Command
		if err := v.push(ctx, &again); err != nil {
			differ[i].RepairError = err.Error()
			continue
		}
		pushed, of = append(pushed, d), append(of, differ[i])
	}
	if len(pushed) == 0 {
		return nil
	}
	found, err := v.comparer.Compare(ctx, pushed)
	if err != nil {
		return fmt.Errorf("compare %s again: %w", v.Name, err)
	}
	for i, f := range of {
		if left := found[i].Difference; left == "" || left == connector.Newer {
			f.Repaired = true
		} else {
			f.RepairError = "pushed again, and still " + string(left)
		}
	}
	return nil
}

func (v *verifier) push(ctx context.Context, d *connector.Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, v.Target.Timeout)
	defer cancel()
	_, err := v.conn.Push(ctx, d)
	return err
}
