package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"rstwhy/internal/event"
	"rstwhy/internal/sink"
)

// The map of who resets whom: processes of this host at the left, remote ends
// at the right, and an arrow from who sent a reset to who received it. It is
// drawn twice, since an SVG that shrinks to a phone's width takes its letters
// with it: the page shows the one that fits.

const (
	nodesMax = 7 // of a side; then "others"
	rowStep  = 62.0
	boxRoom  = 52.0
)

type diagram struct {
	Views []view
	Words string // what it shows, for who cannot see it
}

// view is the map for a width of the page.
type view struct {
	Class         string
	Width, Height float64
	Nodes         []node
	Arrows        []arrow
}

type node struct {
	X, Y, Width, Height float64 // of the box
	InnerWidth          float64 // within the line around it
	InnerHeight         float64
	Lines               []line
	Name                string // in full
}

type line struct {
	Y     float64 // in the box
	Text  string
	Quiet bool
}

type arrow struct {
	Path, Head string // of the line, and the points of its head
	Class      string // sent or received
	Stroke     string
	Words      string
}

// end is a node before it has a place.
type end struct {
	name, second string
	counts
}

type link struct {
	from, to int // index among processes, remote ends
	counts
}

const otherNodes = "others"

func newDiagram(s *event.Summary) diagram {
	if len(s.ByPair) == 0 {
		return diagram{}
	}
	versions := map[string]string{}
	for i := range s.Servers {
		server := &s.Servers[i]
		if server.Version != "" {
			versions[event.Endpoint{Address: server.Address, Port: server.Port}.String()] = "ZooKeeper " + server.Version
		}
	}
	left := ends(s.ByPair, func(p *event.Pair) string { return p.Process })
	right := ends(s.ByPair, func(p *event.Pair) string { return p.Remote })
	for i := range right {
		right[i].second = versions[right[i].name]
	}
	for i := range left {
		// "java[2211] kafka.Kafka": what it runs has a line of its own.
		if _, what, ok := strings.Cut(left[i].name, "] "); ok {
			left[i].second = what
		}
	}
	links := map[[2]int]counts{}
	for i := range s.ByPair {
		p := &s.ByPair[i]
		key := [2]int{indexOf(left, p.Process), indexOf(right, p.Remote)}
		c := links[key]
		c.sent += p.Sent
		c.received += p.Received
		links[key] = c
	}
	var list []link
	for key, c := range links {
		list = append(list, link{key[0], key[1], c})
	}
	slices.SortFunc(list, func(a, b link) int { return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to)) })
	d := diagram{Words: "Map of who resets whom: processes of this host at the left, remote ends at the right. The table below has the same numbers."}
	for _, size := range []side{{"wide", 760, 250, 32, 250, 32}, {"narrow", 350, 118, 16, 150, 21}} {
		d.Views = append(d.Views, size.draw(left, right, list))
	}
	return d
}

// ends are the nodes of a side, most resets first, the rest as one.
func ends(pairs []event.Pair, key func(*event.Pair) string) []end {
	sums := map[string]counts{}
	for i := range pairs {
		k := key(&pairs[i])
		if k == "" || k == sink.Others {
			k = otherNodes
		}
		c := sums[k]
		c.sent += pairs[i].Sent
		c.received += pairs[i].Received
		sums[k] = c
	}
	rest, others := sums[otherNodes], false
	if _, others = sums[otherNodes]; others {
		delete(sums, otherNodes)
	}
	var list []end
	for k, c := range sums {
		list = append(list, end{name: k, counts: c})
	}
	slices.SortFunc(list, func(a, b end) int {
		return cmp.Or(cmp.Compare(b.sent+b.received, a.sent+a.received), cmp.Compare(a.name, b.name))
	})
	if len(list) > nodesMax {
		others = true
		for _, e := range list[nodesMax:] {
			rest.sent += e.sent
			rest.received += e.received
		}
		list = list[:nodesMax]
	}
	if others {
		list = append(list, end{name: otherNodes, counts: rest})
	}
	return list
}

// indexOf finds a name's node; what has none is among the others, which come
// last.
func indexOf(list []end, name string) int {
	if i := slices.IndexFunc(list, func(e end) bool { return e.name == name }); i >= 0 {
		return i
	}
	return len(list) - 1
}

// side is the measures of a view: its width, and for each side the width of a
// box and how many letters fit it.
type side struct {
	class        string
	width        float64
	left         float64
	leftLetters  int
	right        float64
	rightLetters int
}

func (m side) draw(left, right []end, links []link) view {
	v := view{Class: m.class, Width: m.width}
	v.Height = float64(max(len(left), len(right)))*rowStep + 4
	place := func(list []end, x, width float64, letters int, process bool) (middles []float64) {
		gap := v.Height / float64(len(list))
		for i, e := range list {
			middle := gap*float64(i) + gap/2
			middles = append(middles, middle)
			n := newNode(e, letters, process)
			n.X, n.Y, n.Width, n.Height, n.InnerWidth, n.InnerHeight = x, middle-boxRoom/2, width, boxRoom, width-1, boxRoom-1
			v.Nodes = append(v.Nodes, n)
		}
		return middles
	}
	from := place(left, 0, m.left, m.leftLetters, true)
	to := place(right, m.width-m.right, m.right, m.rightLetters, false)
	begin, finish := m.left, m.width-m.right
	var most uint64
	for _, l := range links {
		most = max(most, l.sent, l.received)
	}
	for _, l := range links {
		apart := 0.0
		if l.sent > 0 && l.received > 0 {
			apart = 6
		}
		a, b := from[l.from], to[l.to]
		who := fmt.Sprintf("%s and %s", name(left[l.from].name), name(right[l.to].name))
		if l.sent > 0 {
			v.Arrows = append(v.Arrows, newArrow("sent", begin, a-apart, finish, b-apart, l.sent, most, sink.Plural(l.sent, "reset")+" sent, between "+who))
		}
		if l.received > 0 {
			v.Arrows = append(v.Arrows, newArrow("received", finish, b+apart, begin, a+apart, l.received, most, sink.Plural(l.received, "reset")+" received, between "+who))
		}
	}
	return v
}

func newNode(e end, letters int, process bool) node {
	n := node{Name: name(e.name)}
	first, second := e.name, sink.Escape(e.second, letters)
	if process && e.second != "" {
		first, second = strings.TrimSuffix(e.name, " "+e.second), tail(e.second, letters)
	}
	n.Lines = append(n.Lines, line{Text: sink.Escape(first, letters)})
	if second != "" {
		n.Lines = append(n.Lines, line{Text: second})
	}
	n.Lines = append(n.Lines, line{Text: fmt.Sprintf("%d sent, %d received", e.sent, e.received), Quiet: true})
	for i := range n.Lines {
		n.Lines[i].Y = boxRoom/2 + 4 + 14*(float64(i)-float64(len(n.Lines)-1)/2)
	}
	return n
}

// tail shortens a name to so many letters from its start: the end of a class
// says most. A glyph that is wider than a letter is cut off by its box.
func tail(s string, most int) string {
	letters := []rune(name(s))
	if len(letters) <= most {
		return string(letters)
	}
	return "…" + string(letters[len(letters)-most+1:])
}

func newArrow(class string, x1, y1, x2, y2 float64, n, most uint64, words string) arrow {
	const length, half = 9.0, 5.0
	back := length
	if x2 < x1 {
		back = -length
	}
	bend := (x2 - x1) / 2
	end := x2 - back
	stroke := 1.2 + 3.3*math.Log1p(float64(n))/math.Log1p(float64(max(most, 1)))
	return arrow{
		Class: class, Words: words, Stroke: fmt.Sprintf("%.1f", stroke),
		Path: fmt.Sprintf("M%.1f %.1f C%.1f %.1f %.1f %.1f %.1f %.1f", x1, y1, x1+bend, y1, x2-bend, y2, end, y2),
		Head: fmt.Sprintf("%.1f,%.1f %.1f,%.1f %.1f,%.1f", x2, y2, end, y2-half, end, y2+half),
	}
}
