package decode

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/linkedin/goavro/v2"

	"github.com/hms-sme/policysync/pkg/event"
)

// maxBlock bounds the items that goavro makes room for at once. The guard has
// already counted the items when goavro sees the bytes; this is the second bolt on
// the same door.
const maxBlock = 1 << 24

// boundGoavro sets goavro's limit, which is global to the process, before the
// first codec is made.
var boundGoavro = sync.OnceFunc(func() { goavro.MaxBlockCount = maxBlock })

// codec is goavro's codec of a schema's bare bones. goavro is not given the user's
// text but the canonical form, without logical types and defaults (it knows some
// of them, refuses others and panics on a few) and with names of our own, because
// it resolves a name without namespace otherwise than the specification does.
// What it makes of the bytes are then primitives, maps and slices alone.
type codec struct {
	*goavro.Codec
	// branch is how a union's branch is called in what goavro returns and takes.
	branch func(*event.Type) string
}

func newCodec(root *event.Type) (c codec, err error) {
	boundGoavro()
	names := map[*event.Type]string{}
	name := func(t *event.Type) string {
		if names[t] == "" {
			names[t] = "t" + strconv.Itoa(len(names))
		}
		return names[t]
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("compile schema: %v", p)
		}
	}()
	c.Codec, err = goavro.NewCodec(canonical(root, name))
	if err != nil {
		return codec{}, fmt.Errorf("compile schema: %w", err)
	}
	c.branch = func(t *event.Type) string {
		if n := names[t]; n != "" {
			return n
		}
		return string(t.Kind)
	}
	return c, nil
}
