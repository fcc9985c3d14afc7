package main

import (
	"errors"
	"fmt"
	"strings"

	"rstwhy/internal/privilege"
	"rstwhy/internal/probe"
)

// capability is a row of the table of capabilities as check prints it in JSON.
type capability struct {
	Name     string `json:"name"`
	Has      bool   `json:"has"`
	Needless bool   `json:"needless"` // not needed on this kernel, or only by what "flags" lists
	Purpose  string `json:"purpose"`
	Without  string `json:"without"`
	Kept     string `json:"kept,omitempty"`  // what trace keeps it for once all is attached; empty: it gives it up
	Flags    string `json:"flags,omitempty"` // what alone uses it
}

func surveyed(survey []privilege.Held) (all, missing []capability) {
	missing = []capability{}
	for _, h := range survey {
		c := capability{h.Name, h.Has, h.Needless, h.Purpose, h.Without, h.Keep, h.With}
		all = append(all, c)
		if h.Missing() {
			missing = append(missing, c)
		}
	}
	return all, missing
}

// text tells whether it is there, what that means and what becomes of it.
func (c capability) text(add func(string, ...any)) {
	switch {
	case c.Needless && c.Flags == "":
		return
	case !c.Has && c.Needless:
		add("without  %-20s %s (%s)", c.Name, c.Without, c.Flags)
	case !c.Has:
		add("missing  %-20s %s", c.Name, c.Without)
	case c.Kept == "":
		add("has      %-20s %s; given up by trace once all is attached", c.Name, c.Purpose)
	case c.Flags != "":
		add("has      %-20s given up by trace once all is attached, but with %s kept for: %s", c.Name, c.Flags, c.Kept)
	default:
		add("has      %-20s kept by trace for: %s", c.Name, c.Kept)
	}
}

// firstLine is of an error: a verifier's has hundreds.
func firstLine(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return s
}

// withObstacle says what is in the way and what to do about it, where the kernel
// only said "operation not permitted".
func withObstacle(err error) error {
	if !errors.Is(err, probe.ErrRequiredHook) {
		return err
	}
	if o := probe.FindObstacle(err); o != nil {
		return obstructed{err, o}
	}
	return err
}

type obstructed struct {
	err error
	by  *probe.Obstacle
}

func (e obstructed) Error() string { return fmt.Sprintf("%s; to do: %s", e.by.Says, e.by.Remedy) }
func (e obstructed) Unwrap() error { return e.err }
