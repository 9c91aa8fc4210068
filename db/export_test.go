package db

// The statements whose plans are tested.
const (
	ClaimDue       = claimDue
	SelectBehind   = selectBehind
	SelectLastJobs = selectLastJobs
)

// Selected is the condition of a selector.
var Selected = selected
