//go:build !unix

package httpclient

const canPeek = false

func nothingToRead(int) bool { return false }
