package decode

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// layouts are the text forms of dates and times, the unit that the number counts
// and the layout for package time.
var layouts = map[string]struct {
	unit   time.Duration
	layout string
}{
	event.LogicalDate:            {day, time.DateOnly},
	event.LogicalTimeMillis:      {time.Millisecond, time.TimeOnly},
	event.LogicalTimeMicros:      {time.Microsecond, time.TimeOnly},
	event.LogicalTimestampMillis: {time.Millisecond, time.RFC3339},
	event.LogicalTimestampMicros: {time.Microsecond, time.RFC3339},
	event.LogicalTimestampNanos:  {time.Nanosecond, time.RFC3339},
	event.LogicalLocalMillis:     {time.Millisecond, time.RFC3339},
	event.LogicalLocalMicros:     {time.Microsecond, time.RFC3339},
	event.LogicalLocalNanos:      {time.Nanosecond, time.RFC3339},
}

// parseTime reads the text form of a date, a time of day or a timestamp. Digits
// beyond the type's unit are an error, not lost.
func parseTime(logical, text string) (int64, error) {
	l := layouts[logical]
	t, err := time.Parse(l.layout, text)
	if err != nil {
		return 0, err
	}
	if l.layout == time.TimeOnly {
		t = t.AddDate(1970, 0, 0) // package time has put it into the year 0
	}
	perSecond := int64(time.Second / l.unit)
	if l.unit == day {
		return t.Unix() / 86400, nil
	}
	if t.Nanosecond()%int(l.unit) != 0 {
		return 0, fmt.Errorf("more digits than %s holds", logical)
	}
	n := t.Unix()*perSecond + int64(t.Nanosecond())/int64(l.unit)
	if n/perSecond != t.Unix() && n/perSecond != t.Unix()+1 {
		return 0, fmt.Errorf("out of the range of %s", logical)
	}
	return n, nil
}

func parseDecimal(t *event.Type, text string) ([]byte, error) {
	if strings.Trim(text, "-.0123456789") != "" {
		return nil, errors.New("want digits with an optional point")
	}
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return nil, errors.New("want digits with an optional point")
	}
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(t.Scale)), nil)
	if r.Mul(r, new(big.Rat).SetInt(scale)); !r.IsInt() {
		return nil, fmt.Errorf("more than %d digits after the point", t.Scale)
	}
	if len(new(big.Int).Abs(r.Num()).String()) > t.Precision {
		return nil, fmt.Errorf("more than %d digits", t.Precision)
	}
	b := signedBytes(r.Num())
	if t.Kind != event.Fixed {
		return b, nil
	}
	wide := make([]byte, t.Size) // wide enough: the precision fits the size
	if r.Sign() < 0 {
		for i := range wide {
			wide[i] = 0xff
		}
	}
	copy(wide[t.Size-len(b):], b)
	return wide, nil
}

func parseUUID(text string) ([]byte, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
	if err != nil || len(b) != 16 || len(text) != 36 {
		return nil, errors.New("want a UUID as 8-4-4-4-12 hexadecimal digits")
	}
	return b, nil
}

// codePoints reads the text that stands for bytes in a default.
func codePoints(text string) ([]byte, error) {
	b := make([]byte, 0, len(text))
	for _, r := range text {
		if r > 0xff {
			return nil, fmt.Errorf("%q stands for no byte", r)
		}
		b = append(b, byte(r))
	}
	return b, nil
}
