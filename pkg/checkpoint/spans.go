package checkpoint

import (
	"slices"
	"sort"
)

// Run is a range of offsets: From is in it, To is one past its end.
type Run struct{ From, To int64 }

// spans is a set of offsets as runs in ascending order, of which no two overlap
// or adjoin.
type spans []Run

// touching returns the range of indexes of the runs that overlap or adjoin r. If
// there are none, both are where r belongs.
func (s spans) touching(r Run) (low, high int) {
	low = sort.Search(len(s), func(i int) bool { return s[i].To >= r.From })
	high = low
	for high < len(s) && s[high].From <= r.To {
		high++
	}
	return low, high
}

// join returns r, widened to cover the runs from low to high, all of which it touches.
func (s spans) join(r Run, low, high int) Run {
	if low < high {
		r.From, r.To = min(r.From, s[low].From), max(r.To, s[high-1].To)
	}
	return r
}

// containing returns the run that offset lies in.
func (s spans) containing(offset int64) (Run, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > offset })
	if i < len(s) && s[i].From <= offset {
		return s[i], true
	}
	return Run{}, false
}

// end is one past the highest offset, 0 if there is none.
func (s spans) end() int64 {
	if len(s) == 0 {
		return 0
	}
	return s[len(s)-1].To
}

// replace returns s with r in the place of the runs from low to high. Like
// append, it and the methods below reuse the array of s.
func (s spans) replace(low, high int, r Run) spans {
	if low == high {
		return slices.Insert(s, low, r)
	}
	s[high-1] = r
	return s.remove(low, high-1)
}

// remove returns s without the runs from low to high. It moves the shorter side,
// since deliveries settle near the low end and gaps are found at the high one.
func (s spans) remove(low, high int) spans {
	if low >= len(s)-high {
		return slices.Delete(s, low, high)
	}
	copy(s[high-low:], s[:low])
	return s[high-low:]
}

// cut returns s without the offsets at or above from.
func (s spans) cut(from int64) spans {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > from })
	if i < len(s) && s[i].From < from {
		s[i].To = from
		i++
	}
	return s[:i]
}
