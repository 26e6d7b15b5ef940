package decode_test

import (
	"testing"

	"github.com/linkedin/goavro/v2"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/schemas"
)

const policy = `{"eventId":"0b5e6c1e-6d0f-4c5b-9f0a-2f6f2f3f5a11","type":"policyUpdated","occurredAt":"2026-03-02T09:30:00.25Z",` +
	`"version":17,"target":null,"payload":{"policyId":"p-42","agencyId":"DOI","name":"Weekend Inspections","status":"active",` +
	`"effectiveFrom":"2026-04-01","effectiveTo":null,"rules":[` +
	`{"ruleId":"r-1","no":1,"text":"Inspect on Saturdays and Sundays.","recurrence":"FREQ=WEEKLY;BYDAY=SA,SU"},` +
	`{"ruleId":"r-2","no":2,"text":"Announce two days before the visit.","recurrence":null}]}}`

// BenchmarkDecode compares decoding with goavro alone, which is most of it.
func BenchmarkDecode(b *testing.B) {
	value := encode(b, schemas.PolicyEvent, policy)
	codec, err := goavro.NewCodec(schemas.PolicyEvent)
	require.NoError(b, err)
	b.Run("goavro", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(value)))
		for b.Loop() {
			if _, _, err := codec.NativeFromBinary(value); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, d := range map[string]*decode.Decoder{
		"plain":     fromFiles(b, schemas.PolicyEvent, ""),
		"projected": fromFiles(b, schemas.PolicyEvent, schemas.PolicyEvent),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(value)))
			for b.Loop() {
				if _, _, err := d.Decode(b.Context(), record(value)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
