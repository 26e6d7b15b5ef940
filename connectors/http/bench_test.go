package http

import (
	"bytes"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// BenchmarkPush stands beside a bare client that posts the same body to the same
// server: the difference is what the connector costs.
func BenchmarkPush(b *testing.B) {
	srv := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	b.Cleanup(srv.Close)
	cfg := &Config{URL: text(srv.URL), Delete: &Delete{Ignore: true}}
	cfg.SetDefaults()
	c, err := New(b.Context(), cfg, connector.Env{Concurrency: 32})
	require.NoError(b, err)
	d := upsertOf("P-1", "title", "Weekend Inspections", "agency", "DOI", "status", "active")
	require.NoError(b, c.(connector.Preparer).Prepare(d))
	doc := d.Document.(*document)

	b.Run("connector", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := c.Push(b.Context(), d); err != nil {
					b.Error(err)
				}
			}
		})
	})
	require.NoError(b, c.Close(b.Context()))
	b.Run("batches of 100", func(b *testing.B) {
		b.ReportAllocs()
		cfg := &Config{Bulk: &Bulk{Call: Call{URL: text(srv.URL)}}, Delete: &Delete{Ignore: true}}
		cfg.SetDefaults()
		c, err := New(b.Context(), cfg, connector.Env{Concurrency: 32})
		require.NoError(b, err)
		require.NoError(b, c.(connector.Preparer).Prepare(d))
		ds := slices.Repeat([]*connector.Delivery{d}, 100)
		b.SetParallelism(16)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if r := c.(connector.BatchConnector).PushBatch(b.Context(), ds); r[0].Err != nil {
					b.Error(r[0].Err)
				}
			}
		})
		b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "deliveries/s")
		require.NoError(b, c.Close(b.Context()))
	})
	b.Run("bare client", func(b *testing.B) {
		b.ReportAllocs()
		b.SetParallelism(16)
		bare := &nethttp.Client{Transport: &nethttp.Transport{MaxIdleConnsPerHost: 32}}
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				resp, err := bare.Post(srv.URL, "application/json", bytes.NewReader(doc.body))
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
		bare.CloseIdleConnections()
	})
}
