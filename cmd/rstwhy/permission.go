package main

import (
	"errors"
	"io/fs"
	"strings"
)

func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }

func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}
