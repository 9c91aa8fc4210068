package jobs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/riverbeat/riverbeat/app/schedule"
)

func TestRunMetadataIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		id := schedule.ID(rapid.Custom(func(t *rapid.T) (id [16]byte) {
			copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
			return id
		}).Draw(t, "schedule"))
		at := time.UnixMicro(rapid.Int64Range(0, 253_370_764_800_000_000).Draw(t, "at")).UTC()
		want := RunMetadata{
			RunID: schedule.RunID(id, at).String(), ScheduleID: id.String(), ScheduleName: rapid.StringN(1, 120, -1).Draw(t, "name"),
			Namespace: rapid.StringMatching("[a-z0-9][a-z0-9-]{0,62}").Draw(t, "namespace"), ScheduledFor: at,
			Reason:  rapid.SampledFrom([]schedule.Reason{schedule.ReasonSchedule, schedule.ReasonCatchUp, schedule.ReasonManual}).Draw(t, "reason"),
			Version: rapid.Int64Min(1).Draw(t, "version"),
		}
		text := want.encode(rapid.SampledFrom([]traceMetadata{{}, {Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Tracestate: `a="b"`}}).Draw(t, "trace"))
		if !json.Valid(text) {
			t.Fatalf("not JSON: %s", text)
		}
		got, ok := ReadRunMetadata(text)
		if diff := cmp.Diff(want, got); diff != "" || !ok {
			t.Fatalf("read from %s (-want +got):\n%s", text, diff)
		}
	})
}
