package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"github.com/riverbeat/riverbeat/app/schedule"
)

// QueueAlerts is the queue of the jobs that carry notices to the webhooks of alerts:
// one of their own, so that they aren't stuck behind what they tell of.
const QueueAlerts = "riverbeat_alerts"

// alertAttempts is how often a notice is tried: for some four hours. Later it is news
// of yesterday.
const alertAttempts = 9

const (
	alertWorkers = 10
	// alertPoll is seldom: workers are told of the jobs.
	alertPoll = 5 * time.Second
)

// reasonAlert is the reason that the metadata of such a job give.
const reasonAlert schedule.Reason = "alert"

// InsertNotices inserts one job a notice, in tx.
func (i *Inserter) InsertNotices(ctx context.Context, tx pgx.Tx, notices []schedule.Notice) error {
	if len(notices) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(notices))
	for n, notice := range notices {
		var members map[string]json.RawMessage
		if err := json.Unmarshal(notice.Alert.Webhook, &members); err != nil || members == nil {
			return fmt.Errorf("read the webhook of the alert %s: %w", notice.Alert.Name, err)
		}
		body, err := notice.MarshalJSON()
		if err != nil {
			return fmt.Errorf("write a notice of the alert %s: %w", notice.Alert.Name, err)
		}
		members["body"] = body
		args, err := json.Marshal(members)
		if err != nil {
			return fmt.Errorf("write a notice of the alert %s: %w", notice.Alert.Name, err)
		}
		metadata, err := json.Marshal(map[string]string{"riverbeat": url.Values{
			"run_id": {uuid.NewString()}, "namespace": {notice.Alert.Namespace}, "reason": {string(reasonAlert)}, "alert": {notice.Alert.Name},
		}.Encode()})
		if err != nil {
			return fmt.Errorf("write the metadata of a notice: %w", err)
		}
		params[n] = river.InsertManyParams{
			Args:       templateArgs{kind: KindWebhook, args: args},
			InsertOpts: &river.InsertOpts{Queue: QueueAlerts, MaxAttempts: alertAttempts, Tags: []string{"alert"}, Metadata: metadata},
		}
	}
	_, err := i.client.InsertManyTx(ctx, tx, params)
	if err != nil {
		return fmt.Errorf("insert %d River jobs for alerts: %w", len(notices), err)
	}
	return nil
}
