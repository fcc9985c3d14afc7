package main

import (
	"fmt"
	"slices"
	"strings"
)

// table prints rows as Markdown, in columns that a terminal shows aligned.
type table struct{ rows [][]string }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print() {
	width := map[int]int{}
	for _, r := range t.rows {
		for i, c := range r {
			width[i] = max(width[i], len([]rune(c)))
		}
	}
	for n, r := range t.rows {
		for i, c := range r {
			fmt.Print("| ", c, strings.Repeat(" ", width[i]-len([]rune(c))), " ")
		}
		fmt.Println("|")
		if n == 0 {
			for i := range r {
				fmt.Print("|", strings.Repeat("-", width[i]+2))
			}
			fmt.Println("|")
		}
	}
}

// spread gives the median with the range.
func spread(v []float64, format string) string {
	v = slices.Sorted(slices.Values(v))
	f := func(x float64) string { return fmt.Sprintf(format, x) }
	return fmt.Sprintf("%s (%s to %s)", f(median(v)), f(v[0]), f(v[len(v)-1]))
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

func mib(b float64) string { return fmt.Sprintf("%.1f MiB", b/(1<<20)) }
