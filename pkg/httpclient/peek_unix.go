//go:build unix

package httpclient

import "syscall"

// canPeek says that a kept connection can be looked at before it is used again.
const canPeek = true

// nothingToRead reports whether a socket is open and has nothing to be read.
func nothingToRead(fd int) bool {
	var b [1]byte
	_, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN
}
