package connector

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Secret is a text that never prints: a password, a token, a DSN. In the config a
// field `x` of this type is written as `x: VALUE` or `x_file: PATH`; the file is
// read again when it changes.
type Secret struct {
	value string
	file  *secretFile
}

type secretFile struct {
	path string
	// mu guards the cached value: two pushes that both see a changed file would
	// else race to store it.
	mu    sync.Mutex
	value string
	stamp time.Time
	size  int64
}

// NewSecret returns a secret with a fixed value.
func NewSecret(value string) Secret { return Secret{value: value} }

// SecretFile returns a secret that lives in a file; a final newline is not part of it.
func SecretFile(path string) Secret { return Secret{file: &secretFile{path: path}} }

// IsZero reports whether the config gave neither a value nor a file.
func (s Secret) IsZero() bool { return s.value == "" && s.file == nil }

// Reveal returns the present value. Its error means that the file cannot be read
// and none of its earlier values is known.
func (s Secret) Reveal() (string, error) {
	if s.file == nil {
		return s.value, nil
	}
	return s.file.read()
}

func (f *secretFile) read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(f.path)
	if err == nil && info.ModTime().Equal(f.stamp) && info.Size() == f.size {
		return f.value, nil
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(f.path)
	}
	if err != nil {
		if !f.stamp.IsZero() {
			return f.value, nil // the file is being replaced: the old value still holds
		}
		return "", fmt.Errorf("read secret: %w", err)
	}
	f.value, f.stamp, f.size = strings.TrimRight(string(b), "\r\n"), info.ModTime(), info.Size()
	return f.value, nil
}

// String hides the value.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return "[secret]"
}

// GoString hides the value from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides the value from every encoder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
