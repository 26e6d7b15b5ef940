package decode

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/hms-sme/policysync/pkg/event"
)

const (
	formatConfluent    = "confluent"
	formatSingleObject = "single-object"
	formatNone         = "none"
)

// confluentHeader and singleObjectHeader are how many bytes stand before the value.
const (
	confluentHeader    = 5
	singleObjectHeader = 10
)

// unframe returns the id of the writer's schema (the registry's, or a fingerprint,
// or 0) and the bytes of the value.
func unframe(format string, r *event.Record) (uint64, []byte, error) {
	b := r.Value
	switch {
	case format == formatNone:
		return 0, b, nil
	case format == formatConfluent && len(b) >= confluentHeader && b[0] == 0:
		// A registry's ids are positive and signed. It would call any other a wrong
		// address, which must not look like a registry in trouble.
		if id := int32(binary.BigEndian.Uint32(b[1:])); id > 0 {
			return uint64(id), b[confluentHeader:], nil
		}
	case format == formatSingleObject && len(b) >= singleObjectHeader && b[0] == 0xC3 && b[1] == 1:
		return binary.LittleEndian.Uint64(b[2:]), b[singleObjectHeader:], nil
	}
	if other := recognise(r); other != "" {
		return 0, nil, undecodable(Framing, "read %s framing: this looks like %s", format, other)
	}
	return 0, nil, undecodable(Framing, "read %s framing: the value begins with %s", format, start(b))
}

func start(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("% x", b[:min(len(b), 5)])
}

// schemaHeaders are the record headers in which others carry the schema's id, and
// whose they are.
var schemaHeaders = map[string]string{
	"apicurio.value.globalId":   "Apicurio's header form",
	"apicurio.value.contentId":  "Apicurio's header form",
	"apicurio.value.artifactId": "Apicurio's header form",
	"__value_schema_id":         "Confluent's header form",
}

// recognise names the format of bytes that are not in the configured one, or
// returns "".
func recognise(r *event.Record) string {
	for _, h := range r.Headers {
		if form, ok := schemaHeaders[h.Key]; ok {
			return form
		}
	}
	b := r.Value
	switch {
	case len(b) >= 18 && b[0] == 3 && (b[1] == 0 || b[1] == 5):
		return "AWS Glue's framing"
	case len(b) >= singleObjectHeader && b[0] == 0xC3 && b[1] == 1:
		return "Avro's single-object encoding"
	case len(b) >= 9 && b[0] == 0 && binary.BigEndian.Uint32(b[1:]) == 0 && binary.BigEndian.Uint32(b[5:]) != 0:
		return "Apicurio's framing with ids of eight bytes"
	case len(b) >= confluentHeader && b[0] == 0 && int32(binary.BigEndian.Uint32(b[1:])) > 0:
		return "Confluent's framing"
	case len(b) >= 17 && b[0] == 1:
		return "Confluent's framing with a GUID"
	case bytes.HasPrefix(b, []byte("Obj\x01")):
		return "an Avro object container file"
	case len(b) > 0 && (b[0] == '{' || b[0] == '['):
		return "JSON"
	}
	return ""
}

// frame returns the header that unframe takes off.
func frame(format string, id uint64) []byte {
	switch format {
	case formatConfluent:
		return binary.BigEndian.AppendUint32([]byte{0}, uint32(id))
	case formatSingleObject:
		return binary.LittleEndian.AppendUint64([]byte{0xC3, 1}, id)
	}
	return nil
}
