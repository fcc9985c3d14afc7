package main

import (
	"os"
	"testing"

	"rstwhy/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main() // this test binary is also the lab's worker
	os.Exit(m.Run())
}
