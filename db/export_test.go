package db

// The statements whose plans are tested.
const (
	ClaimDue       = claimDue
	SelectBehind   = selectBehind
	SelectLastJobs = selectLastJobs
)
