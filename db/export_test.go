package db

// The statements whose plans are tested.
const (
	ClaimDue       = claimDue
	SelectBehind   = selectBehind
	SelectLastJobs = selectLastJobs
)

// Selected is the condition of a selector.
var Selected = selected

// Bounded is the filter with other bounds than the program's.
func Bounded(f ListFilter, few, walk, gather, count int) ListFilter {
	f.bounds = &listBounds{few: few, walk: walk, gather: gather, count: count}
	return f
}
