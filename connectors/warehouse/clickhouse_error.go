package warehouse

import (
	"errors"

	"github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"

	"github.com/hms-sme/policysync/pkg/connector"
)

// classifyClickHouse gives an error its class. A server that answers says by its
// code what is wrong; when it does not answer, the connection is.
func classifyClickHouse(err error) error {
	if err == nil {
		return nil
	}
	exception := (*clickhouse.Exception)(nil)
	if !errors.As(err, &exception) {
		return connector.AsUnavailable(err)
	}
	switch proto.Error(exception.Code) {
	case proto.ErrCannotParseText, proto.ErrCannotParseQuotedString, proto.ErrCannotParseInputAssertionFailed,
		proto.ErrCannotParseDate, proto.ErrCannotParseDatetime, proto.ErrCannotParseNumber,
		proto.ErrCannotParseUUID, proto.ErrCannotParseBool, proto.ErrCannotParseIpv4, proto.ErrCannotParseIpv6,
		proto.ErrTypeMismatch, proto.ErrCannotConvertType, proto.ErrArgumentOutOfBound,
		proto.ErrValueIsOutOfRangeOfDataType, proto.ErrDecimalOverflow, proto.ErrUnknownElementOfEnum,
		proto.ErrIncorrectData, proto.ErrTooLargeStringSize, proto.ErrTooLargeArraySize,
		proto.ErrCannotInsertNullInOrdinaryColumn, proto.ErrViolatedConstraint:
		return connector.AsPermanent(err)
	case proto.ErrTooManyParts, proto.ErrTooManySimultaneousQueries, proto.ErrServerOverloaded:
		return &connector.Error{Class: connector.Throttled, Overload: true, Err: err}
	case proto.ErrQuotaExpired, proto.ErrReceivedErrorTooManyRequests:
		return connector.AsThrottled(err, 0)
	case proto.ErrAuthenticationFailed, proto.ErrUnknownUser, proto.ErrWrongPassword, proto.ErrRequiredPassword,
		proto.ErrIPAddressNotAllowed, proto.ErrAccessDenied, proto.ErrDatabaseAccessDenied, proto.ErrReadonly,
		proto.ErrUserExpired,
		// The config and the server disagree: that is nothing about the policy.
		proto.ErrUnknownDatabase, proto.ErrUnknownTable, proto.ErrNoSuchColumnInTable, proto.ErrUnknownIdentifier,
		proto.ErrUnknownSetting, proto.ErrSettingConstraintViolation, proto.ErrUnknownType, proto.ErrSyntaxError,
		// The server cannot write at present.
		proto.ErrTableIsReadOnly, proto.ErrNotEnoughSpace, proto.ErrTableIsDropped, proto.ErrTableIsBeingRestarted,
		proto.ErrNoZookeeper, proto.ErrKeeperException, proto.ErrTooFewLiveReplicas, proto.ErrUnknownStatusOfInsert,
		proto.ErrUnsatisfiedQuorumForPreviousWrite, proto.ErrNoActiveReplicas, proto.ErrAllConnectionTriesFailed,
		proto.ErrTimeoutExceeded, proto.ErrSocketTimeout, proto.ErrNetworkError, proto.ErrAborted:
		return connector.AsUnavailable(err)
	}
	return connector.AsTransient(err)
}
