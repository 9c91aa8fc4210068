package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

func (a *api) catchUpRoutes() {
	handle(a, huma.Operation{
		OperationID: "get-catch-up", Method: http.MethodGet, Path: "/v1/catch-up", Tags: []string{"runs"},
		Summary: "Show what was missed and is still to be made up for",
		Description: "After an outage, before the schedulers look and while they make up for what was missed. " +
			"The first schedules are looked at one by one; where there are more, the end is estimated by them.",
		Errors: []int{422, 503},
	}, a.catchUp)
}

type catchUpInput struct {
	Namespace string `query:"namespace" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" patternDescription:"1 to 63 lower-case letters, digits and hyphens, the first not a hyphen" doc:"All namespaces that the token sees when it is left out."`
}

// catchUpDocument is what is owed, in JSON.
type catchUpDocument struct {
	Schedules     int64      `json:"schedules" doc:"Schedules that are behind."`
	SchedulesMore bool       `json:"schedules_more" doc:"There may be more: not all that are behind were looked at."`
	Runs          int64      `json:"runs" doc:"Runs to be made up for, of runs_of schedules."`
	RunsOf        int64      `json:"runs_of" doc:"For how many of the schedules runs were counted, from the one that is due first."`
	Oldest        *time.Time `json:"oldest" doc:"The first instant that is owed; null: nothing is."`
	Rate          int        `json:"rate" doc:"Runs a second, over all namespaces: RIVERBEAT_CATCH_UP_RATE."`
	EndsAt        *time.Time `json:"ends_at" doc:"About when all is made up for; null: nothing is owed. To a token that is limited to namespaces, as if nobody else were owed anything."`
}

type catchUpAnswer struct{ Body catchUpDocument }

func (a *api) catchUp(ctx context.Context, in *catchUpInput) (*catchUpAnswer, error) {
	c, err := a.Service.CatchUp(ctx, in.Namespace)
	if err != nil {
		return nil, err
	}
	return &catchUpAnswer{Body: catchUpDocument{
		Schedules: c.Schedules, SchedulesMore: c.AtLeast, Runs: c.Runs, RunsOf: c.Counted,
		Oldest: optionalTime(c.Oldest), Rate: c.Rate, EndsAt: optionalTime(c.EndsAt),
	}}, nil
}
