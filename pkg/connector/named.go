package connector

// Named is an entry of a mapping in the config whose order matters, such as a
// table or a header. A field of type []Named[T] is written in YAML as a mapping
// from names to T; the entries keep their order.
type Named[T any] struct {
	Name  string
	Value T
}

// Entry gives the config decoder access to the name and a pointer to the value.
func (n *Named[T]) Entry() (name *string, value any) { return &n.Name, &n.Value }
