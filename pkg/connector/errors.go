package connector

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Class says what the lane does about a failed attempt. It is carried by the
// error's type, never guessed from its text.
type Class string

// The classes of errors.
const (
	// Transient: back off and try again, up to retry.max_attempts. It is the
	// class of every error that carries none.
	Transient Class = "transient"
	// Permanent: no further attempt can cure it. The delivery becomes a dead
	// letter at once; it says nothing bad about the target.
	Permanent Class = "permanent"
	// Unavailable: the target cannot be reached or does not let us in. It counts
	// on the breaker and spends no attempt.
	Unavailable Class = "unavailable"
	// Throttled: the target asks to slow down. All of it waits; no attempt is spent.
	Throttled Class = "throttled"
)

// Error is an error with a class.
type Error struct {
	Class Class
	// After is how long the target asked to wait; 0 if it did not say.
	After time.Duration
	// Overload reports, with Throttled, that the target is in trouble (HTTP 503
	// with Retry-After) rather than guarding a quota (429): it counts on the breaker.
	Overload bool
	Err      error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsPermanent marks err as permanent.
func AsPermanent(err error) error { return &Error{Class: Permanent, Err: err} }

// AsTransient marks err as transient, which also shadows a class below it.
func AsTransient(err error) error { return &Error{Class: Transient, Err: err} }

// AsUnavailable marks err as unavailable.
func AsUnavailable(err error) error { return &Error{Class: Unavailable, Err: err} }

// AsThrottled marks err as throttled; after is how long to wait, 0 if unknown.
func AsThrottled(err error, after time.Duration) error {
	return &Error{Class: Throttled, After: after, Err: err}
}

// Classify returns the class of err: the outermost mark in its chain, or Transient.
func Classify(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Transient
}

// wholeError marks the failure of a whole batch, of which nothing was applied.
type wholeError struct{ error }

func (e wholeError) Unwrap() error { return e.error }

// FailAll returns n results that all fail with err, because nothing of the batch
// was applied.
func FailAll(n int, err error) []Result {
	rs := make([]Result, n)
	for i := range rs {
		rs[i].Err = wholeError{err}
	}
	return rs
}

// FailedWhole reports whether err came from [FailAll].
func FailedWhole(err error) bool {
	var w wholeError
	return errors.As(err, &w)
}

// Recovered makes a panic of the function that defers it the error *err, with its stack:
// one in a goroutine would end the process.
func Recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panicked: %v\n%s", r, debug.Stack())
	}
}
