package main

import (
	"fmt"
	"html"
	"strings"
)

// bar is one value of a plot.
type bar struct {
	label string
	value float64
	text  string
	ours  bool
}

// panel is a few bars on one scale.
type panel struct {
	title string
	bars  []bar
}

// panels are the figures that the plot shows: one panel a size for what is due at
// one instant, one for lateness under load, one for memory.
func (r *report) panels() []panel {
	var panels []panel
	at := map[string]int{}
	add := func(key, title string, b bar) {
		i, ok := at[key]
		if !ok {
			i = len(panels)
			at[key] = i
			panels = append(panels, panel{title: title})
		}
		panels[i].bars = append(panels[i].bars, b)
	}
	for _, result := range r.Results {
		if result.Skipped != "" {
			continue
		}
		b := bar{label: result.Name, ours: strings.HasPrefix(result.Name, "riverbeat")}
		n := grouped(result.Schedules)
		switch result.Group {
		case dueAtOnce.key:
			b.value = result.Median["rate"]
			b.text = number(b.value, 0)
			add("due "+n, n+" due at one instant: runs a second", b)
		case sustained.key:
			b.value = result.Median["p99"]
			b.text = number(b.value, 1) + " ms"
			b.label = strings.TrimPrefix(b.label, "riverbeat, ") + ", " + n + "/s"
			add("sustained", "Sustained for a minute: lateness, p99", b)
		case idle.key:
			b.value = result.Median["rss"]
			b.text = number(b.value, 0) + " MiB"
			b.label = n + " schedules"
			add("idle", "Idle: memory", b)
		}
	}
	return panels
}

// plot draws the panels as an SVG that needs nothing else: bars with their values
// written beside them.
func (r *report) plot() string {
	const width, left, right, line, gap = 760, 210, 90, 22, 34
	panels := r.panels()
	height := 60
	for _, p := range panels {
		height += gap + line*len(p.bars)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="13">`+"\n", width, height, width, height)
	fmt.Fprintf(&out, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", width, height)
	fmt.Fprintf(&out, `<text x="16" y="26" font-size="12" fill="#555">%s</text>`+"\n", html.EscapeString(r.machine()))
	y := 36
	for _, p := range panels {
		y += gap
		fmt.Fprintf(&out, `<text x="16" y="%d" font-weight="600" fill="#111">%s</text>`+"\n", y-8, html.EscapeString(p.title))
		most := 0.0
		for _, b := range p.bars {
			most = max(most, b.value)
		}
		for _, b := range p.bars {
			length := 0.0
			if most > 0 {
				length = b.value / most * (width - left - right)
			}
			fill := "#b8c0cc"
			if b.ours {
				fill = "#0b7285"
			}
			fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end" fill="#333">%s</text>`, left-8, y+14, html.EscapeString(b.label))
			fmt.Fprintf(&out, `<rect x="%d" y="%d" width="%.1f" height="%d" rx="2" fill="%s"/>`, left, y+2, max(length, 1), line-6, fill)
			fmt.Fprintf(&out, `<text x="%.1f" y="%d" fill="#333">%s</text>`+"\n", left+length+6, y+14, b.text)
			y += line
		}
	}
	out.WriteString("</svg>\n")
	return out.String()
}
