package main

import (
	"os"
	"testing"

	"rstwhy/internal/lab"
)

func TestMain(m *testing.M) {
	lab.Main() // this test binary is also the lab's worker
	confine()  // and starts programs under restrictions
	os.Exit(m.Run())
}
