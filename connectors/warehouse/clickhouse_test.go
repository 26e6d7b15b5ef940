package warehouse

import (
	"context"
	"errors"
	"io"
	"math"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

func TestClickHouseFit(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 2, 3, 4, 5, 6, 789_000_000, time.UTC)
	money := event.Decimal{Unscaled: big.NewInt(12345), Scale: 2}
	nested := &event.Object{Names: []string{"no", "text"}, Values: []any{int64(1), "open"}}
	never := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		v          any
		columnType string
		want       any
		err        string
	}{
		{v: nil, columnType: "Nullable(Int64)", want: nil},
		{v: int64(7), columnType: "Int64", want: int64(7)},
		{v: int64(math.MinInt8), columnType: "Int8", want: int8(math.MinInt8)},
		{v: int64(128), columnType: "Int8", err: "write as Int8: 128 is out of range"},
		{v: int64(1 << 31), columnType: "Nullable(Int32)", err: "write as Nullable(Int32): 2147483648 is out of range"},
		{v: int64(math.MaxUint32), columnType: "UInt32", want: uint32(math.MaxUint32)},
		{v: int64(-1), columnType: "UInt64", err: "write as UInt64: -1 is out of range"},
		{v: true, columnType: "UInt8", want: uint8(1)},
		{v: true, columnType: "Bool", want: true},
		{v: "7", columnType: "Int64", err: "write as Int64: a value of type string does not fit"},
		{v: int64(2), columnType: "Float64", want: 2.0},
		{v: 1e300, columnType: "Float32", err: "write as Float32: 1e+300 is out of range"},
		{v: money, columnType: "Nullable(Decimal(9, 2))", want: decimal.New(12345, -2)},
		{v: money, columnType: "Decimal(9, 1)", err: "write as Decimal(9, 1): 123.45 is out of range"},
		{v: money, columnType: "Decimal(4, 2)", err: "write as Decimal(4, 2): 123.45 is out of range"},
		{v: money, columnType: "LowCardinality(Nullable(String))", want: "123.45"},
		{v: at, columnType: "DateTime64(6, 'UTC')", want: at},
		{v: at, columnType: "Int64", want: at.UnixMicro()},
		{v: at, columnType: "String", want: "2026-02-03T04:05:06.789Z"},
		{v: never, columnType: "DateTime64(6, 'UTC')", err: "write as DateTime64(6, 'UTC'): 9999-12-31T00:00:00Z is out of range"},
		{v: event.Date(20_000), columnType: "Date32", want: event.Date(20_000).Time()},
		{v: event.Date(-1), columnType: "Date", err: "write as Date: 1969-12-31T00:00:00Z is out of range"},
		{v: event.Date(-1), columnType: "String", want: "1969-12-31"},
		{v: time.Hour, columnType: "String", want: "01:00:00"},
		{v: nested, columnType: "Nullable(String)", want: `{"no":1,"text":"open"}`},
		{v: []byte{0xff, 0}, columnType: "String", want: "\xff\x00"},
	} {
		got, err := fitterOf((*clickHouse)(nil), c.columnType)(c.v)
		if c.err != "" {
			require.EqualError(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(c.want, got), "%v as %s", c.v, c.columnType)
	}
}

func TestClickHouseErrorClasses(t *testing.T) {
	t.Parallel()
	code := func(code proto.Error) error {
		return &clickhouse.Exception{Code: int32(code), Message: "TOO_MANY_PARTS"}
	}
	for name, c := range map[string]struct {
		err  error
		want connector.Class
	}{
		"a value":          {code(proto.ErrCannotParseDatetime), connector.Permanent},
		"a constraint":     {code(proto.ErrViolatedConstraint), connector.Permanent},
		"too many parts":   {code(proto.ErrTooManyParts), connector.Throttled},
		"a quota":          {code(proto.ErrQuotaExpired), connector.Throttled},
		"memory":           {code(proto.ErrMemoryLimitExceeded), connector.Transient},
		"an unknown code":  {code(31337), connector.Transient},
		"credentials":      {code(proto.ErrAuthenticationFailed), connector.Unavailable},
		"no database":      {code(proto.ErrUnknownDatabase), connector.Unavailable},
		"a server timeout": {code(proto.ErrTimeoutExceeded), connector.Unavailable},
		"a broken pipe":    {&net.OpError{Op: "write", Err: errors.New("broken pipe")}, connector.Unavailable},
		"an end":           {io.ErrUnexpectedEOF, connector.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, connector.Classify(classifyClickHouse(c.err)))
		})
	}
}

// TestClickHouseStalled has a server that accepts connections and says nothing.
func TestClickHouseStalled(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]error{"the context ends": context.Canceled, "close": errClosed} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			w := newWarehouse(t, &Config{DSN: connector.NewSecret("clickhouse://" + server.Addr().String() + "/db")})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			pushed, closed := make(chan error, 1), make(chan error, 1)
			go func() {
				_, err := w.Push(ctx, upsert(nil))
				pushed <- err
			}()
			silent, err := server.Accept()
			require.NoError(t, err)
			if errors.Is(want, context.Canceled) {
				cancel()
				require.ErrorIs(t, <-pushed, want)
			}
			go func() { closed <- w.Close(t.Context()) }()
			if errors.Is(want, errClosed) {
				require.ErrorIs(t, <-pushed, want)
			}
			require.NoError(t, silent.Close())
			require.NoError(t, server.Close())
			require.NoError(t, <-closed)
		})
	}
}

func TestClickHouseRefused(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, server.Close())
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("clickhouse://me:hidden@" + server.Addr().String() + "/db")}))
	d := upsert(nil)
	_, err = w.Push(t.Context(), d)
	require.Equal(t, connector.Unavailable, connector.Classify(err))
	require.NotContains(t, err.Error(), "hidden")
	require.True(t, connector.FailedWhole(w.PushBatch(t.Context(), []*connector.Delivery{d})[0].Err))
	require.Equal(t, connector.Unavailable, connector.Classify(w.Check(t.Context())))
}

// An attempt's context ends when the attempt does. The driver may look at it later,
// and would close a connection that another insert uses.
func TestInsertThatIsOverOutlivesItsAttempt(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{"ended meanwhile": true, "ended after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				own, over := whileRunning(ctx)
				if !early {
					over()
				}
				cancel()
				synctest.Wait()
				require.Equal(t, early, own.Err() != nil)
			})
		})
	}
}
