package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// TestLock: a second run waits, says so, and can be ended while it waits.
func TestLock(t *testing.T) {
	var log strings.Builder
	s := store{t.TempDir() + "/new", &log}
	release, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.lock(ctx); !errors.Is(err, context.DeadlineExceeded) || strings.Count(log.String(), "waiting for another run") != 1 {
		t.Errorf("a second lock: %v, and said %q", err, &log)
	}
	release()
	again, err := s.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	again()
}
