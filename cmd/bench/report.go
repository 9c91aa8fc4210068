package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// report is what was measured, as it is written to figures.json.
type report struct {
	Date       string   `json:"date"`
	Cores      int      `json:"cores"`
	MemoryMiB  int      `json:"memory_mib"`
	System     string   `json:"system"`
	Go         string   `json:"go"`
	PostgreSQL string   `json:"postgresql"`
	Short      bool     `json:"short,omitempty"` // small sizes, once: figures of no worth
	Results    []result `json:"results"`
}

// result is one row of the table.
type result struct {
	Group     string  `json:"group"`
	Name      string  `json:"name"`
	Schedules int     `json:"schedules,omitempty"`
	Times     int     `json:"times"`             // that it was measured
	Median    figures `json:"median,omitempty"`  // of each figure
	Skipped   string  `json:"skipped,omitempty"` // why it wasn't

	group *group
}

func newReport(b *bench) *report {
	return &report{
		Date: time.Now().UTC().Format(time.DateOnly), Cores: runtime.NumCPU(), MemoryMiB: memoryMiB(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Go: strings.TrimPrefix(runtime.Version(), "go"),
		PostgreSQL: b.version, Short: b.short,
	}
}

func (r *report) add(row row, all []figures, skipped *skippedError) {
	result := result{Group: row.group.key, Name: row.name, Schedules: row.n, Times: len(all), group: row.group}
	if skipped != nil {
		result.Skipped = skipped.reason
	} else {
		result.Median = median(all)
	}
	r.Results = append(r.Results, result)
}

// median is that of each figure by itself.
func median(all []figures) figures {
	m := figures{}
	for key := range all[0] {
		var values []float64
		for _, f := range all {
			values = append(values, f[key])
		}
		slices.Sort(values)
		m[key] = (values[(len(values)-1)/2] + values[len(values)/2]) / 2
	}
	return m
}

func (r *report) machine() string {
	return fmt.Sprintf("%s · %d cores, %.0f GiB, %s · Go %s, PostgreSQL %s with its default durability",
		r.Date, r.Cores, float64(r.MemoryMiB)/1024, r.System, r.Go, r.PostgreSQL)
}

// table is Markdown that can be read as it is.
func (r *report) table() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s. Medians of as many runs as the column says.\n", r.machine())
	if r.Short {
		out.WriteString("The short form: small sizes, once. These figures say that all of it works, no more.\n")
	}
	for i := 0; i < len(r.Results); {
		g := r.Results[i].group
		head := []string{g.title, "schedules"}
		for _, c := range g.columns {
			head = append(head, c.title)
		}
		lines := [][]string{append(head, "runs")}
		var skipped []string
		for ; i < len(r.Results) && r.Results[i].group == g; i++ {
			result := r.Results[i]
			if result.Skipped != "" {
				skipped = append(skipped, fmt.Sprintf("Not measured: %s: %s.", result.Name, result.Skipped))
				continue
			}
			line := []string{result.Name, grouped(result.Schedules)}
			for _, c := range g.columns {
				text := ""
				if v, ok := result.Median[c.key]; ok {
					text = number(v, c.digits)
				}
				line = append(line, text)
			}
			lines = append(lines, append(line, strconv.Itoa(result.Times)))
		}
		out.WriteString("\n")
		writeTable(&out, lines)
		fmt.Fprintf(&out, "\n%s\n", strings.Join(append([]string{g.note}, slices.Compact(skipped)...), "\n"))
	}
	return out.String()
}

// writeTable writes a Markdown table whose columns stand below one another.
func writeTable(out *strings.Builder, lines [][]string) {
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	rule := make([]string, len(widths))
	for i, width := range widths {
		rule[i] = strings.Repeat("-", width-1) + ":"
	}
	rule[0] = strings.Repeat("-", widths[0])
	for _, line := range slices.Insert(lines, 1, rule) {
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				cell += pad
			} else {
				cell = pad + cell
			}
			if i > 0 {
				out.WriteString(" | ")
			} else {
				out.WriteString("| ")
			}
			out.WriteString(cell)
		}
		out.WriteString(" |\n")
	}
}

// grouped is 12345 as 12,345, and 0 as nothing.
func grouped(n int) string {
	if n == 0 {
		return ""
	}
	return number(float64(n), 0)
}

func number(v float64, digits int) string {
	text := strconv.FormatFloat(v, 'f', digits, 64)
	whole, rest, _ := strings.Cut(text, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest == "" {
		return whole
	}
	return whole + "." + rest
}

func (r *report) writeJSON(path string) error {
	rounded := *r
	rounded.Results = slices.Clone(r.Results)
	for i, result := range rounded.Results {
		short := figures{}
		for key, v := range result.Median {
			short[key], _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64) // its own text
		}
		rounded.Results[i].Median = short
	}
	text, err := json.MarshalIndent(rounded, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// The part of a file that the table replaces.
const figuresBegin, figuresEnd = "<!-- figures -->\n", "<!-- /figures -->"

func replaceFigures(path, table string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, begins := bytes.Cut(content, []byte(figuresBegin))
	_, after, ends := bytes.Cut(rest, []byte(figuresEnd))
	if !begins || !ends {
		return fmt.Errorf("%s has no place for the figures between %s and %s", path, strings.TrimSpace(figuresBegin), figuresEnd)
	}
	text := slices.Concat(before, []byte(figuresBegin), []byte(table), []byte(figuresEnd), after)
	return os.WriteFile(path, text, 0o600) //nolint:gosec // the caller names the file
}
