package lab

import (
	"fmt"
	"os"
	"os/exec"
	"time"
)

// hog keeps a CPU busy with computing and system calls until its parent closes
// its standard input.
func hog() {
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	end := time.Now().Add(maxLife)
	for n := 0; ; n++ {
		if n%1000 == 0 {
			_ = os.Getppid()
			if time.Now().After(end) {
				os.Exit(0)
			}
		}
	}
}

// Hogs starts processes that have nothing to do with any connection and keep the
// CPUs busy, so that a softirq interrupts somebody. Call stop.
func Hogs(n int) (stop func(), err error) {
	var undo []func()
	stop = func() {
		for _, f := range undo {
			f()
		}
	}
	for i := range n {
		comm := fmt.Sprintf("hog-%d", i)
		c := exec.Command("/proc/self/exe")
		c.Args, c.Env = []string{comm}, append(os.Environ(), roleVariable+"=hog "+comm)
		in, err := c.StdinPipe()
		if err == nil {
			err = c.Start()
		}
		if err != nil {
			stop()
			return nil, fmt.Errorf("lab: start %s: %w", comm, err)
		}
		undo = append(undo, func() {
			in.Close()
			_ = c.Wait()
		})
	}
	return stop, nil
}
