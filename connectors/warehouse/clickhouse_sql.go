package warehouse

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// clickHouseTable is the statement that makes the history table.
func clickHouseTable(t *table, modern bool) string {
	columns := make([]string, len(t.columns))
	for i, c := range t.columns {
		columns[i] = c.clickHouse(modern)
	}
	order := slices.Concat(t.orderBy, identity[:])
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s) ENGINE = ReplacingMergeTree(_ingested_at) ORDER BY (%s)",
		quote(t.name), strings.Join(columns, ", "), quote(order...))
}

// clickHouse is the column's name and type.
func (c column) clickHouse(modern bool) string {
	columnType := clickHouseType(c.typ, modern)
	if c.nullable {
		columnType = "Nullable(" + columnType + ")"
	}
	return quote(c.name) + " " + columnType
}

// clickHouseType is the type of a column for values of type t. Servers before 22
// have no type for all timestamps and dates of an event: there a timestamp is its
// microseconds since 1970, and a date its text.
func clickHouseType(t *event.Type, modern bool) string {
	if t == nil {
		return "String"
	}
	switch t.Logical {
	case event.LogicalDecimal:
		if t.Precision <= 38 || modern && t.Precision <= 76 {
			return fmt.Sprintf("Decimal(%d, %d)", t.Precision, t.Scale)
		}
		return "String"
	case event.LogicalDate:
		if modern {
			return "Date32"
		}
		return "String"
	case event.LogicalTimestampNanos, event.LogicalLocalNanos:
		if modern {
			return "DateTime64(9, 'UTC')"
		}
		return "String"
	case event.LogicalTimestampMillis, event.LogicalTimestampMicros,
		event.LogicalLocalMillis, event.LogicalLocalMicros:
		if modern {
			return "DateTime64(6, 'UTC')"
		}
		return "Int64"
	case event.LogicalTimeMillis, event.LogicalTimeMicros:
		return "String"
	}
	switch t.Kind {
	case event.Boolean:
		return "UInt8"
	case event.Int:
		return "Int32"
	case event.Long:
		return "Int64"
	case event.Float:
		return "Float32"
	case event.Double:
		return "Float64"
	default:
		return "String"
	}
}

// clickHouseLatest is the statement that makes the view of the newest version of
// each key.
//
// Within one topic id and partition a tombstone buries what has a lower offset; of
// what it leaves, the highest version wins, then the highest offset, then the row
// ingested last. That winner is the tip of its source, a tombstone if nothing is
// above it. Between sources offsets do not compare: there a tombstone buries the
// tips that were ingested before it, and of the others the highest version wins,
// then the one ingested last. So the answer hangs neither on the order of arrival
// within a source, nor on repeats, nor on merges.
//
// Tuples compare from left to right: what is alive first. A tombstone, and a row
// whose version is its offset, have no version; the lowest number stands for it.
func clickHouseLatest(t *table) string {
	const latest = "CREATE VIEW IF NOT EXISTS {view} AS SELECT {columns} FROM {table} " +
		"WHERE (_key, _topic_id, _partition, _offset, _ingested_at) IN (" +
		"SELECT _key, tupleElement(best, 4), tupleElement(best, 5), tupleElement(best, 6), tupleElement(best, 3) FROM (" +
		"SELECT _key, arrayReverseSort(arrayFilter((t, b) -> tupleElement(t, 3) >= b, tips, arrayMap(t -> buried_at, tips)))[1] AS best FROM (" +
		"SELECT _key, maxIf(tupleElement(tip, 4), tupleElement(tip, 1) = 0) AS buried_at, " +
		"groupArray((tupleElement(tip, 1), tupleElement(tip, 2), tupleElement(tip, 4), _topic_id, _partition, tupleElement(tip, 3))) AS tips FROM (" +
		"SELECT _key, _topic_id, _partition, " +
		"max((_deleted = 0, ifNull(_version, -9223372036854775807), _offset, _ingested_at)) AS tip FROM {table} " +
		"ANY LEFT JOIN (SELECT _key, _topic_id, _partition, max(_offset) AS buried FROM {table} " +
		"WHERE _deleted = 1 GROUP BY _key, _topic_id, _partition) AS tombstones USING (_key, _topic_id, _partition) " +
		"WHERE _offset >= ifNull(buried, 0) GROUP BY _key, _topic_id, _partition) " +
		"GROUP BY _key)) WHERE tupleElement(best, 1) = 1)"
	return strings.NewReplacer("{view}", quote(t.latest()), "{table}", quote(t.name), "{columns}", quote(t.columnNames()...)).
		Replace(latest)
}
