package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The guest's last word on the line of the program's output is the program's exit
// status behind a marker, which holds a random number so that no program can say
// it by accident. Without it the guest died.

const (
	markerStart = "\x1erstwhy-vm "
	nonceBytes  = 16
)

func newNonce() string {
	var b [nonceBytes]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func exitMarker(nonce string, status int) string {
	return fmt.Sprintf("%s%s %d\n", markerStart, nonce, status)
}

var errNoStatus = errors.New("the guest ended without the program's exit status: its kernel died, or QEMU did")

// readOutput copies a program's output to w up to the marker, and returns the
// status behind it.
func readOutput(r io.Reader, w io.Writer, nonce string) (int, error) {
	marker := []byte(markerStart + nonce + " ")
	var held []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := r.Read(chunk)
		held = append(held, chunk[:n]...)
		if i := bytes.Index(held, marker); i >= 0 {
			if status, _, complete := bytes.Cut(held[i+len(marker):], []byte{'\n'}); complete {
				if _, err := w.Write(held[:i]); err != nil {
					return 0, err
				}
				return strconv.Atoi(string(status))
			}
		} else if keep := len(marker) - 1; len(held) > keep { // the marker may have begun
			if _, err := w.Write(held[:len(held)-keep]); err != nil {
				return 0, err
			}
			held = append(held[:0], held[len(held)-keep:]...)
		}
		if err == io.EOF {
			if _, err := w.Write(held); err != nil {
				return 0, err
			}
			return 0, errNoStatus
		}
		if err != nil {
			return 0, fmt.Errorf("read the guest's output: %w", err)
		}
	}
}
