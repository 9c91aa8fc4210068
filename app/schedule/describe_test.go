package schedule

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The zone is left out here: every row ends ", UTC" in English and "(UTC)" in
// Japanese.
func TestDescribeSaysWhenACronExpressionRuns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ cron, english, japanese string }{
		{"* * * * *", "Every minute", "毎分"},
		{"* * * * * *", "Every second", "毎秒"},
		{"0 * * * *", "Every hour", "毎時0分"},
		{"@hourly", "Every hour", "毎時0分"},
		{"@daily", "At 00:00 every day", "毎日 00:00"},
		{"@midnight", "At 00:00 every day", "毎日 00:00"},
		{"@weekly", "At 00:00 on Sundays", "毎週日曜日 00:00"},
		{"@monthly", "At 00:00 on day 1 of the month", "毎月1日 00:00"},
		{"@yearly", "At 00:00 on January 1", "毎年1月1日 00:00"},
		{"@annually", "At 00:00 on January 1", "毎年1月1日 00:00"},
		{" @DAILY ", "At 00:00 every day", "毎日 00:00"},
		{"*/2 * * * *", "Every 2 minutes", "2分ごと"},
		{"*/5 * * * *", "Every 5 minutes", "5分ごと"},
		{"*/7 * * * *", "Every 7 minutes from minute 0 to 56 of every hour", "毎時0分から56分まで7分ごと"},
		{"*/15 * * * *", "Every 15 minutes", "15分ごと"},
		{"0,15,30,45 * * * *", "Every 15 minutes", "15分ごと"},
		{"*/20 * * * *", "Every 20 minutes", "20分ごと"},
		{"*/30 * * * *", "Every 30 minutes", "30分ごと"},
		{"*/40 * * * *", "At minutes 0 and 40 of every hour", "毎時0・40分"},
		{"*/45 * * * *", "At minutes 0 and 45 of every hour", "毎時0・45分"},
		{"5/15 * * * *", "Every 15 minutes from minute 5 of every hour", "毎時5分から15分ごと"},
		{"10/20 * * * *", "Every 20 minutes from minute 10 of every hour", "毎時10分から20分ごと"},
		{"3-59/10 * * * *", "Every 10 minutes from minute 3 of every hour", "毎時3分から10分ごと"},
		{"15 * * * *", "At minute 15 of every hour", "毎時15分"},
		{"5,35 * * * *", "At minutes 5 and 35 of every hour", "毎時5・35分"},
		{"5,7,20 * * * *", "At minutes 5, 7 and 20 of every hour", "毎時5・7・20分"},
		{"0-10 * * * *", "Every minute from minute 0 to 10 of every hour", "毎時0分から10分まで毎分"},
		{"0-10,30 * * * *", "At minutes 0 to 10 and 30 of every hour", "毎時0〜10・30分"},
		{"10-20,40-50 * * * *", "At minutes 10 to 20 and 40 to 50 of every hour", "毎時10〜20・40〜50分"},
		{"1-58 * * * *", "Every minute from minute 1 to 58 of every hour", "毎時1分から58分まで毎分"},
		{"59 23 * * *", "At 23:59 every day", "毎日 23:59"},
		{"0 3 * * *", "At 03:00 every day", "毎日 03:00"},
		{"05 04 * * *", "At 04:05 every day", "毎日 04:05"},
		{"0 0,12 * * *", "At 00:00 and 12:00 every day", "毎日 00:00と12:00"},
		{"0 */12 * * *", "At 00:00 and 12:00 every day", "毎日 00:00と12:00"},
		{"0 */8 * * *", "At 00:00, 08:00 and 16:00 every day", "毎日 00:00、08:00、16:00"},
		{"0 */6 * * *", "Every 6 hours from 00:00 to 18:00 every day", "毎日 00:00から18:00まで6時間ごと"},
		{"0 */2 * * *", "Every 2 hours from 00:00 to 22:00 every day", "毎日 00:00から22:00まで2時間ごと"},
		{"30 */2 * * *", "Every 2 hours from 00:30 to 22:30 every day", "毎日 00:30から22:30まで2時間ごと"},
		{"0 */5 * * *", "Every 5 hours from 00:00 to 20:00 every day", "毎日 00:00から20:00まで5時間ごと"},
		{"0 */7 * * *", "Every 7 hours from 00:00 to 21:00 every day", "毎日 00:00から21:00まで7時間ごと"},
		{"0 1/2 * * *", "Every 2 hours from 01:00 to 23:00 every day", "毎日 01:00から23:00まで2時間ごと"},
		{"0 1-23/2 * * *", "Every 2 hours from 01:00 to 23:00 every day", "毎日 01:00から23:00まで2時間ごと"},
		{"0 8,13,18 * * *", "At 08:00, 13:00 and 18:00 every day", "毎日 08:00、13:00、18:00"},
		{"0 8,12,15,18 * * *", "At 08:00, 12:00, 15:00 and 18:00 every day", "毎日 08:00、12:00、15:00、18:00"},
		{"0 9-17 * * *", "Every hour from 09:00 to 17:00 every day", "毎日 09:00から17:00まで1時間ごと"},
		{"0 9-17/2 * * 1-5", "Every 2 hours from 09:00 to 17:00 on weekdays", "平日 09:00から17:00まで2時間ごと"},
		{"30 9-17 * * *", "Every hour from 09:30 to 17:30 every day", "毎日 09:30から17:30まで1時間ごと"},
		{"*/30 9-17 * * *", "Every 30 minutes from 09:00 to 17:30 every day", "毎日 09:00から17:30まで30分ごと"},
		{"*/15 9-17 * * 1-5", "Every 15 minutes from 09:00 to 17:45 on weekdays", "平日 09:00から17:45まで15分ごと"},
		{"* 9-17 * * *", "Every minute from 09:00 to 17:59 every day", "毎日 09:00から17:59まで毎分"},
		{"* 9 * * *", "Every minute from 09:00 to 09:59 every day", "毎日 09:00から09:59まで毎分"},
		{"*/15 9 * * *", "Every 15 minutes from 09:00 to 09:45 every day", "毎日 09:00から09:45まで15分ごと"},
		{"*/7 9 * * *", "Every 7 minutes from 09:00 to 09:56 every day", "毎日 09:00から09:56まで7分ごと"},
		{"*/7 9-17 * * *", "Every 7 minutes from minute 0 to 56 of hours 9 to 17 every day", "毎日 9〜17時台の毎時0分から56分まで7分ごと"},
		{"*/15 9-11,13-17 * * 1-5", "Every 15 minutes from 09:00 to 11:45 and from 13:00 to 17:45 on weekdays", "平日 09:00から11:45までと13:00から17:45まで15分ごと"},
		{"0 9-11,13-17 * * *", "Every hour from 09:00 to 11:00 and from 13:00 to 17:00 every day", "毎日 09:00から11:00までと13:00から17:00まで1時間ごと"},
		{"*/15 9,12 * * *", "Every 15 minutes from 09:00 to 09:45 and from 12:00 to 12:45 every day", "毎日 09:00から09:45までと12:00から12:45まで15分ごと"},
		{"*/15 */2 * * *", "Every 15 minutes of every 2nd hour from 0 to 22 every day", "毎日 0・2・4・6・8・10・12・14・16・18・20・22時台に15分ごと"},
		{"* */2 * * *", "Every minute of every 2nd hour from 0 to 22 every day", "毎日 0・2・4・6・8・10・12・14・16・18・20・22時台の毎分"},
		{"0,30 */2 * * *", "At minutes 0 and 30 of every 2nd hour from 0 to 22 every day", "毎日 0・2・4・6・8・10・12・14・16・18・20・22時台の毎時0・30分"},
		{"0 8-20,23 * * *", "At minute 0 of hours 8 to 20 and 23 every day", "毎日 8〜20・23時台の毎時0分"},
		{"0 0-2,22-23 * * *", "At 00:00, 01:00, 02:00, 22:00 and 23:00 every day", "毎日 00:00、01:00、02:00、22:00、23:00"},
		{"1,2,4,8,16,32 9 * * *", "At 09:01, 09:02, 09:04, 09:08, 09:16 and 09:32 every day", "毎日 09:01、09:02、09:04、09:08、09:16、09:32"},
		{"1,2,4,8,16,32,33,40,50 9 * * *", "At minutes 1, 2, 4, 8, 16, 32, 33, 40 and 50 of hour 9 every day", "毎日 9時台の1・2・4・8・16・32・33・40・50分"},
		{"1,2,4,8,16,32 9,12 * * *", "At minutes 1, 2, 4, 8, 16 and 32 of hours 9 and 12 every day", "毎日 9・12時台の毎時1・2・4・8・16・32分"},
		{"0,59 9,10 * * *", "At 09:00, 09:59, 10:00 and 10:59 every day", "毎日 09:00、09:59、10:00、10:59"},
		{"0 9-10,13-17 * * *", "Every hour from 09:00 to 10:00 and from 13:00 to 17:00 every day", "毎日 09:00から10:00までと13:00から17:00まで1時間ごと"},
		{"0 0-22 * * *", "Every hour from 00:00 to 22:00 every day", "毎日 00:00から22:00まで1時間ごと"},
		{"30 * * * * *", "At second 30 of every minute", "毎分30秒"},
		{"30 0 * * * *", "At second 30 of minute 0 of every hour", "毎時0分30秒"},
		{"30 5,35 * * * *", "At second 30 of minutes 5 and 35 of every hour", "毎時5・35分の30秒"},
		{"*/10 * * * * *", "Every 10 seconds", "10秒ごと"},
		{"*/7 * * * * *", "Every 7 seconds from second 0 to 56 of every minute", "毎分0秒から56秒まで7秒ごと"},
		{"5/10 * * * * *", "Every 10 seconds from second 5 of every minute", "毎分5秒から10秒ごと"},
		{"0,10,25 * * * * *", "At seconds 0, 10 and 25 of every minute", "毎分0・10・25秒"},
		{"0,30 * * * * *", "Every 30 seconds", "30秒ごと"},
		{"0,30 0 * * * *", "At seconds 0 and 30 of minute 0 of every hour", "毎時0分の0・30秒"},
		{"0,30 */5 * * * *", "At seconds 0 and 30 of every 5th minute from 0 to 55 of every hour", "5分ごとの各分の0・30秒"},
		{"30 */5 * * * *", "At second 30 of every 5th minute from 0 to 55 of every hour", "5分ごとの各分の30秒"},
		{"*/10 */5 * * * *", "Every 10 seconds of every 5th minute from 0 to 55 of every hour", "5分ごとの各分に10秒ごと"},
		{"*/10 * 9-17 * * *", "Every 10 seconds from 09:00:00 to 17:59:50 every day", "毎日 09:00:00から17:59:50まで10秒ごと"},
		{"*/10 * 9,12 * * *", "Every 10 seconds from 09:00:00 to 09:59:50 and from 12:00:00 to 12:59:50 every day", "毎日 09:00:00から09:59:50までと12:00:00から12:59:50まで10秒ごと"},
		{"*/10 0-4 9 * * *", "Every 10 seconds from 09:00:00 to 09:04:50 every day", "毎日 09:00:00から09:04:50まで10秒ごと"},
		{"*/10 0-4 * * * *", "Every 10 seconds of minutes 0 to 4 of every hour", "毎時0〜4分の各分に10秒ごと"},
		{"* 0 12 * * *", "Every second from 12:00:00 to 12:00:59 every day", "毎日 12:00:00から12:00:59まで毎秒"},
		{"* * 12 * * *", "Every second from 12:00:00 to 12:59:59 every day", "毎日 12:00:00から12:59:59まで毎秒"},
		{"30 * 12 * * *", "Every minute from 12:00:30 to 12:59:30 every day", "毎日 12:00:30から12:59:30まで毎分"},
		{"30 * 9,12,15,18 * * *", "At second 30 of every minute of hours 9, 12, 15 and 18 every day", "毎日 9・12・15・18時台の毎分30秒"},
		{"15,45 0,30 9 * * *", "At 09:00:15, 09:00:45, 09:30:15 and 09:30:45 every day", "毎日 09:00:15、09:00:45、09:30:15、09:30:45"},
		{"30 0 9 * * *", "At 09:00:30 every day", "毎日 09:00:30"},
		{"0 0 9 * * *", "At 09:00 every day", "毎日 09:00"},
		{"15 30 9-17 * * 1-5", "Every hour from 09:30:15 to 17:30:15 on weekdays", "平日 09:30:15から17:30:15まで1時間ごと"},
		{"5,10 1,2,3 8,10 * * *", "At seconds 5 and 10 of minutes 1 to 3 of hours 8 and 10 every day", "毎日 8・10時台の毎時1〜3分の各分の5・10秒"},
		{"0 22 * * SUN", "At 22:00 on Sundays", "毎週日曜日 22:00"},
		{"0 22 * * 7", "At 22:00 on Sundays", "毎週日曜日 22:00"},
		{"0 0 * * 1", "At 00:00 on Mondays", "毎週月曜日 00:00"},
		{"0 0 * * MON,WED,FRI", "At 00:00 on Mondays, Wednesdays and Fridays", "毎週月・水・金曜日 00:00"},
		{"0 9 * * 1-5", "At 09:00 on weekdays", "平日 09:00"},
		{"0 9 * * mon,tue,wed,thu,fri", "At 09:00 on weekdays", "平日 09:00"},
		{"0 9 * * 0,6", "At 09:00 on weekends", "毎週土日 09:00"},
		{"0 9 * * SAT-SUN", "At 09:00 on weekends", "毎週土日 09:00"},
		{"0 9 * * FRI-SUN", "At 09:00 on Fridays, Saturdays and Sundays", "毎週金・土・日曜日 09:00"},
		{"0 9 * * 1-4", "At 09:00 on Mondays through Thursdays", "毎週月曜日から木曜日 09:00"},
		{"0 9 * * 0-4", "At 09:00 on Sundays through Thursdays", "毎週日曜日から木曜日 09:00"},
		{"0 9 * * 1-6", "At 09:00 every day except Sundays", "日曜日以外の毎日 09:00"},
		{"0 9 * * 0,1,2,4,5,6", "At 09:00 every day except Wednesdays", "水曜日以外の毎日 09:00"},
		{"0 9 * * 5,6,0,1", "At 09:00 on Fridays through Mondays", "毎週金曜日から月曜日 09:00"},
		{"0 9 * * */2", "At 09:00 on Tuesdays, Thursdays, Saturdays and Sundays", "毎週火・木・土・日曜日 09:00"},
		{"0 9 * * 2,4", "At 09:00 on Tuesdays and Thursdays", "毎週火・木曜日 09:00"},
		{"0 * * * 1-5", "Every hour on weekdays", "平日 毎時0分"},
		{"*/15 * * * 6,0", "Every 15 minutes on weekends", "毎週土日 15分ごと"},
		{"0 0 * * 5#2", "At 00:00 on the 2nd Friday of the month", "毎月第2金曜日 00:00"},
		{"0 0 * * 5L", "At 00:00 on the last Friday of the month", "毎月最終金曜日 00:00"},
		{"0 0 * * FRI#L", "At 00:00 on the last Friday of the month", "毎月最終金曜日 00:00"},
		{"0 0 * * 1#1,1#3", "At 00:00 on the 1st and 3rd Monday of the month", "毎月第1・第3月曜日 00:00"},
		{"0 0 * * 1#1,5#L", "At 00:00 on the 1st Monday and the last Friday of the month", "毎月第1月曜日と最終金曜日 00:00"},
		{"0 0 * * 1#1,1L", "At 00:00 on the 1st and last Monday of the month", "毎月第1・最終月曜日 00:00"},
		{"0 0 * * 1,5#2", "At 00:00 on Mondays and on the 2nd Friday of the month", "毎週月曜日と毎月第2金曜日 00:00"},
		{"0 0 * * 1-5,6#1", "At 00:00 on weekdays and on the 1st Saturday of the month", "平日と毎月第1土曜日 00:00"},
		{"0 0 * * 5,5L", "At 00:00 on Fridays", "毎週金曜日 00:00"},
		{"0 0 * * 5,5#2", "At 00:00 on Fridays", "毎週金曜日 00:00"},
		{"0 0 1 * *", "At 00:00 on day 1 of the month", "毎月1日 00:00"},
		{"0 0 1,15 * *", "At 00:00 on days 1 and 15 of the month", "毎月1・15日 00:00"},
		{"0 0 1-7 * *", "At 00:00 on days 1 to 7 of the month", "毎月1〜7日 00:00"},
		{"0 0 1-7,15 * *", "At 00:00 on days 1 to 7 and 15 of the month", "毎月1〜7・15日 00:00"},
		{"0 0 1,11,21 * *", "At 00:00 on days 1, 11 and 21 of the month", "毎月1・11・21日 00:00"},
		{"0 0 */2 * *", "At 00:00 on odd days of the month", "毎月奇数日 00:00"},
		{"0 0 2/2 * *", "At 00:00 on even days of the month", "毎月偶数日 00:00"},
		{"0 0 */3 * *", "At 00:00 on every 3rd day from 1 to 31 of the month", "毎月1日から31日まで3日ごと 00:00"},
		{"0 0 */15 * *", "At 00:00 on days 1, 16 and 31 of the month", "毎月1・16・31日 00:00"},
		{"0 0 10-20/2 * *", "At 00:00 on every 2nd day from 10 to 20 of the month", "毎月10日から20日まで2日ごと 00:00"},
		{"0 0 31 * *", "At 00:00 on day 31 of the month", "毎月31日 00:00"},
		{"0 0 L * *", "At 00:00 on the last day of the month", "毎月末日 00:00"},
		{"0 0 L-1 * *", "At 00:00 on the day before the last day of the month", "毎月末日の1日前 00:00"},
		{"0 0 L-3 * *", "At 00:00 on the 3rd day before the last day of the month", "毎月末日の3日前 00:00"},
		{"0 0 LW * *", "At 00:00 on the last weekday of the month", "毎月最終平日 00:00"},
		{"0 0 15W * *", "At 00:00 on the weekday nearest to day 15 of the month", "毎月15日に最も近い平日 00:00"},
		{"0 0 1W,15W * *", "At 00:00 on the weekday nearest to day 1 and the weekday nearest to day 15 of the month", "毎月1日に最も近い平日と15日に最も近い平日 00:00"},
		{"0 0 1,15,L * *", "At 00:00 on days 1 and 15 and the last day of the month", "毎月1・15日と末日 00:00"},
		{"0 0 1,L-2,15W,LW * *", "At 00:00 on day 1, the 2nd day before the last day, the weekday nearest to day 15 and the last weekday of the month", "毎月1日、末日の2日前、15日に最も近い平日、最終平日 00:00"},
		{"*/10 * 1 * *", "Every 10 minutes on day 1 of the month", "毎月1日 10分ごと"},
		{"0 * L * *", "Every hour on the last day of the month", "毎月末日 毎時0分"},
		{"0 0 1 * 1", "At 00:00 on day 1 of the month or on Mondays", "毎月1日または毎週月曜日 00:00"},
		{"0 0 1,15 * 1-5", "At 00:00 on days 1 and 15 of the month or on weekdays", "毎月1・15日または平日 00:00"},
		{"0 0 13 * FRI", "At 00:00 on day 13 of the month or on Fridays", "毎月13日または毎週金曜日 00:00"},
		{"0 0 L * 5L", "At 00:00 on the last day of the month or on the last Friday of the month", "毎月末日または毎月最終金曜日 00:00"},
		{"0 0 15W * 1#1", "At 00:00 on the weekday nearest to day 15 of the month or on the 1st Monday of the month", "毎月15日に最も近い平日または毎月第1月曜日 00:00"},
		{"0 0 1-31 * 1", "At 00:00 every day", "毎日 00:00"},
		{"0 0 1 * 0-6", "At 00:00 every day", "毎日 00:00"},
		{"0 0 */2 * 1", "At 00:00 on odd days of the month, and only if it's Monday", "毎月奇数日(月曜日の場合のみ) 00:00"},
		{"0 0 */2 * 1-5", "At 00:00 on odd days of the month, and only if it's a weekday", "毎月奇数日(平日の場合のみ) 00:00"},
		{"0 0 1 * */2", "At 00:00 on day 1 of the month, and only if it's Tuesday, Thursday, Saturday or Sunday", "毎月1日(火・木・土・日曜日の場合のみ) 00:00"},
		{"0 0 1-7 * */1", "At 00:00 on days 1 to 7 of the month", "毎月1〜7日 00:00"},
		{"0 0 */31 * 1,3,5#5", "At 00:00 on day 1 of the month, and only if it's Monday, Wednesday or the 5th Friday of the month", "毎月1日(月・水曜日または第5金曜日の場合のみ) 00:00"},
		{"0 0 * 1 *", "At 00:00 every day in January", "毎年1月の毎日 00:00"},
		{"0 0 1 1 *", "At 00:00 on January 1", "毎年1月1日 00:00"},
		{"0 0 29 2 *", "At 00:00 on February 29", "毎年2月29日 00:00"},
		{"0 0 1,15 6 *", "At 00:00 on June 1 and 15", "毎年6月1・15日 00:00"},
		{"0 0 1-7 1 *", "At 00:00 on January 1 to 7", "毎年1月1〜7日 00:00"},
		{"0 0 L 2 *", "At 00:00 on the last day of February", "毎年2月の末日 00:00"},
		{"0 0 */2 1 *", "At 00:00 on odd days of January", "毎年1月の奇数日 00:00"},
		{"0 0 1 1,4,7,10 *", "At 00:00 on day 1 of January, April, July and October", "毎年1・4・7・10月の1日 00:00"},
		{"0 0 1 */3 *", "At 00:00 on day 1 of January, April, July and October", "毎年1・4・7・10月の1日 00:00"},
		{"0 0 1 */2 *", "At 00:00 on day 1 of January, March, May, July, September and November", "毎年1・3・5・7・9・11月の1日 00:00"},
		{"0 0 1 1-3 *", "At 00:00 on day 1 of the month from January through March", "毎年1月から3月までの毎月1日 00:00"},
		{"0 0 L 3,6,9,12 *", "At 00:00 on the last day of March, June, September and December", "毎年3・6・9・12月の末日 00:00"},
		{"0 0 * 6-8 *", "At 00:00 every day from June through August", "毎年6月から8月までの毎日 00:00"},
		{"0 0 * 11,12,1,2 *", "At 00:00 every day from November through February", "毎年11月から2月までの毎日 00:00"},
		{"0 0 * 1,3 MON", "At 00:00 on Mondays in January and March", "毎年1・3月の毎週月曜日 00:00"},
		{"0 0 * 1-3 MON", "At 00:00 on Mondays from January through March", "毎年1月から3月までの毎週月曜日 00:00"},
		{"0 9 * 12 1-5", "At 09:00 on weekdays in December", "毎年12月の平日 09:00"},
		{"0 0 * NOV 4#4", "At 00:00 on the 4th Thursday of November", "毎年11月の第4木曜日 00:00"},
		{"0 0 * 1-3 4#4", "At 00:00 on the 4th Thursday of the month from January through March", "毎年1月から3月までの毎月第4木曜日 00:00"},
		{"0 0 * 1 1,4#4", "At 00:00 on Mondays and on the 4th Thursday of the month in January", "毎年1月の毎週月曜日と第4木曜日 00:00"},
		{"0 0 1 1 1", "At 00:00 on day 1 of the month or on Mondays, only in January", "毎年1月のうち、1日または毎週月曜日 00:00"},
		{"0 0 1 1-3 1", "At 00:00 on day 1 of the month or on Mondays, only from January through March", "毎年1月から3月までのうち、毎月1日または毎週月曜日 00:00"},
		{"0 0 1 1,7 1#1", "At 00:00 on day 1 of the month or on the 1st Monday of the month, only in January and July", "毎年1・7月のうち、1日または第1月曜日 00:00"},
		{"0 0 */2 1 1", "At 00:00 on odd days of January, and only if it's Monday", "毎年1月の奇数日(月曜日の場合のみ) 00:00"},
		{"0 0 */2 1-3 1", "At 00:00 on odd days of the month from January through March, and only if it's Monday", "毎年1月から3月までの毎月奇数日(月曜日の場合のみ) 00:00"},
		{"*/15 * * 1 *", "Every 15 minutes in January", "毎年1月の毎日 15分ごと"},
		{"*/15 * * 1-3 *", "Every 15 minutes from January through March", "毎年1月から3月までの毎日 15分ごと"},
		{"*/15 9-17 * 1,2 *", "Every 15 minutes from 09:00 to 17:45 every day in January and February", "毎年1・2月の毎日 09:00から17:45まで15分ごと"},
		{"* * 29 2 *", "Every minute on February 29", "毎年2月29日 毎分"},
		{"0 0 ? * MON", "At 00:00 on Mondays", "毎週月曜日 00:00"},
		{"0 0 1 ? ?", "At 00:00 on day 1 of the month", "毎月1日 00:00"},
		{"1,3,5,8,13,21,34,55 2,3,5,7,11,13 1,2,3,5,8,13,21 1,2,3,5,8 1,3,5", `When the cron expression "1,3,5,8,13,21,34,55 2,3,5,7,11,13 1,2,3,5,8,13,21 1,2,3,5,8 1,3,5" matches`, "毎年1〜3・5・8月のうち、1〜3・5・8・13・21日または毎週月・水・金曜日 2・3・5・7・11・13時台の毎時1・3・5・8・13・21・34・55分"},
		{"0 12 */2 1,3,5,7,9,11 *", "At 12:00 on odd days of January, March, May, July, September and November", "毎年1・3・5・7・9・11月の奇数日 12:00"},
		{"*/10 * 9,12,15,18 * * *", "Every 10 seconds of hours 9, 12, 15 and 18 every day", "毎日 9・12・15・18時台に10秒ごと"},
		{"30 */5 9,12,15,18 * * *", "At second 30 of every 5th minute from 0 to 55 of hours 9, 12, 15 and 18 every day", "毎日 9・12・15・18時台の5分ごとの各分の30秒"},
		{"* 1,5,9 * * * *", "Every second of minutes 1, 5 and 9 of every hour", "毎時1・5・9分の毎秒"},
		{"0 9 * * TUE-SUN", "At 09:00 every day except Mondays", "月曜日以外の毎日 09:00"},
		{"0 9 * * 1", "At 09:00 on Mondays", "毎週月曜日 09:00"},
		{"0 18 * * 3-6", "At 18:00 on Wednesdays through Saturdays", "毎週水曜日から土曜日 18:00"},
		{"0 0 L,L-1 * *", "At 00:00 on the last day and the day before the last day of the month", "毎月末日と末日の1日前 00:00"},
		{"0 0 1,L 2 *", "At 00:00 on day 1 and the last day of February", "毎年2月1日と末日 00:00"},
		{"0 0 31W 12 *", "At 00:00 on the weekday nearest to day 31 of December", "毎年12月31日に最も近い平日 00:00"},
		{"0 6,18 1-7 * */1", "At 06:00 and 18:00 on days 1 to 7 of the month", "毎月1〜7日 06:00と18:00"},
		{"15 10 ? * 6#3", "At 10:15 on the 3rd Saturday of the month", "毎月第3土曜日 10:15"},
		{"0 0 12 1/5 * ?", "At 12:00 on every 5th day from 1 to 31 of the month", "毎月1日から31日まで5日ごと 12:00"},
		{"0 0 2-30/4 * *", "At 00:00 on every 4th day from 2 to 30 of the month", "毎月2日から30日まで4日ごと 00:00"},
		{"0 0 */10 * *", "At 00:00 on days 1, 11, 21 and 31 of the month", "毎月1・11・21・31日 00:00"},
		{"0 0 LW 3,6,9,12 *", "At 00:00 on the last weekday of March, June, September and December", "毎年3・6・9・12月の最終平日 00:00"},
		{"0 9 1-5 4 1-5", "At 09:00 on days 1 to 5 of the month or on weekdays, only in April", "毎年4月のうち、1〜5日または平日 09:00"},
		{"0 9 ? 4-9 1L", "At 09:00 on the last Monday of the month from April through September", "毎年4月から9月までの毎月最終月曜日 09:00"},
		{"0,20,40 8-18 * * 1-6", "Every 20 minutes from 08:00 to 18:40 every day except Sundays", "日曜日以外の毎日 08:00から18:40まで20分ごと"},
		{"23 0-20/2 * * *", "Every 2 hours from 00:23 to 20:23 every day", "毎日 00:23から20:23まで2時間ごと"},
		{"0 4 8-14 * *", "At 04:00 on days 8 to 14 of the month", "毎月8〜14日 04:00"},
		{"5 0 * 8 *", "At 00:05 every day in August", "毎年8月の毎日 00:05"},
		{"0 0,12 1 */2 *", "At 00:00 and 12:00 on day 1 of January, March, May, July, September and November", "毎年1・3・5・7・9・11月の1日 00:00と12:00"},
		{"0 0 * * 1,2", "At 00:00 on Mondays and Tuesdays", "毎週月・火曜日 00:00"},
	} {
		spec := Spec{Cron: test.cron, Timezone: "UTC"}
		if got, want := Describe(spec, English), test.english+", UTC"; got != want {
			t.Errorf("%q is\n\t%s\nwant\n\t%s", test.cron, got, want)
		}
		if got, want := Describe(spec, Japanese), test.japanese+"(UTC)"; got != want {
			t.Errorf("%q is\n\t%s\nwant\n\t%s", test.cron, got, want)
		}
	}
}

func TestDescribeSaysTheRestOfASpec(t *testing.T) {
	t.Parallel()
	at := func(text string) time.Time {
		instant, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Fatal(err)
		}
		return instant
	}
	const tokyo, newYork = "Asia/Tokyo", "America/New_York"
	weekdays := Spec{Cron: "0 3 * * 1-5", Timezone: tokyo}
	from, until, all := weekdays, weekdays, weekdays
	from.StartAt = at("2026-01-01T00:00:00+09:00")
	until.EndAt = at("2026-02-01T00:00:00+09:00")
	all.StartAt, all.EndAt, all.Jitter, all.MaxRuns = from.StartAt, until.EndAt, 90*time.Second, 5
	every := func(d time.Duration) Spec { return Spec{Every: d, Timezone: "UTC"} }
	except := func(on OnExcluded, calendars ...string) Spec {
		return Spec{Cron: "@daily", Timezone: "UTC", Exclude: calendars, OnExcluded: on}
	}
	jitter := func(d time.Duration) Spec { return Spec{Cron: "@daily", Jitter: d, Timezone: "UTC"} }
	runs := func(n int64) Spec { return Spec{Cron: "@daily", MaxRuns: n, Timezone: "UTC"} }
	once := func(text, zone string) Spec { return Spec{At: at(text), Timezone: zone} }
	for _, test := range []struct {
		spec              Spec
		english, japanese string
	}{
		{weekdays, "At 03:00 on weekdays, Asia/Tokyo", "平日 03:00(Asia/Tokyo)"},
		{from, "At 03:00 on weekdays, Asia/Tokyo, from 2026-01-01 00:00",
			"平日 03:00(Asia/Tokyo)、2026年1月1日 00:00以降"},
		{until, "At 03:00 on weekdays, Asia/Tokyo, until just before 2026-02-01 00:00",
			"平日 03:00(Asia/Tokyo)、2026年2月1日 00:00より前"},
		{all, "At 03:00 on weekdays, Asia/Tokyo, from 2026-01-01 00:00, until just before 2026-02-01 00:00, delayed by up to 90 seconds, at most 5 times",
			"平日 03:00(Asia/Tokyo)、2026年1月1日 00:00以降、2026年2月1日 00:00より前、最大90秒の遅延、最大5回"},
		{except("", "jp"), "At 00:00 every day, UTC, but not on days of jp", "毎日 00:00(UTC)、jpの日を除く"},
		{except(OnExcludedSkip, "jp", "uk", "us"), "At 00:00 every day, UTC, but not on days of jp, uk and us", "毎日 00:00(UTC)、jp、uk、usの日を除く"},
		{except(OnExcludedNextDay, "jp", "uk"), "At 00:00 every day, UTC, after days of jp and uk instead of on them", "毎日 00:00(UTC)、jpとukの日は翌日以降に延期"},
		{except(OnExcludedPreviousDay, "jp"), "At 00:00 every day, UTC, before days of jp instead of on them", "毎日 00:00(UTC)、jpの日は前日以前に繰上げ"},
		{jitter(time.Second), "At 00:00 every day, UTC, delayed by up to 1 second", "毎日 00:00(UTC)、最大1秒の遅延"},
		{jitter(250 * time.Millisecond), "At 00:00 every day, UTC, delayed by up to 0.25 seconds", "毎日 00:00(UTC)、最大0.25秒の遅延"},
		{jitter(5 * time.Minute), "At 00:00 every day, UTC, delayed by up to 5 minutes", "毎日 00:00(UTC)、最大5分の遅延"},
		{runs(1), "At 00:00 every day, UTC, at most once", "毎日 00:00(UTC)、最大1回"},
		{runs(2), "At 00:00 every day, UTC, at most 2 times", "毎日 00:00(UTC)、最大2回"},

		{every(time.Second), "Every second, UTC", "毎秒(UTC)"},
		{every(1500 * time.Millisecond), "Every 1.5 seconds, UTC", "1.5秒ごと(UTC)"},
		{every(time.Second + 1), "Every 1.000000001 seconds, UTC", "1.000000001秒ごと(UTC)"},
		{every(30 * time.Second), "Every 30 seconds, UTC", "30秒ごと(UTC)"},
		{every(time.Minute), "Every minute, UTC", "毎分(UTC)"},
		{every(90 * time.Second), "Every 90 seconds, UTC", "90秒ごと(UTC)"},
		{every(150 * time.Second), "Every 2 minutes 30 seconds, UTC", "2分30秒ごと(UTC)"},
		{every(15 * time.Minute), "Every 15 minutes, UTC", "15分ごと(UTC)"},
		{every(time.Hour), "Every hour, UTC", "1時間ごと(UTC)"},
		{every(90 * time.Minute), "Every 1 hour 30 minutes, UTC", "1時間30分ごと(UTC)"},
		{every(time.Hour + 90*time.Second), "Every 1 hour 1 minute 30 seconds, UTC", "1時間1分30秒ごと(UTC)"},
		{every(24 * time.Hour), "Every 24 hours, UTC", "24時間ごと(UTC)"},
		{every(36 * time.Hour), "Every 36 hours, UTC", "36時間ごと(UTC)"},
		{every(48 * time.Hour), "Every 2 days, UTC", "2日ごと(UTC)"},
		{every(7*24*time.Hour + time.Hour), "Every 7 days 1 hour, UTC", "7日1時間ごと(UTC)"},
		{every(MaxEvery), "Every 3650 days, UTC", "3650日ごと(UTC)"},
		{Spec{Every: time.Hour, Timezone: newYork, StartAt: at("2026-07-01T12:00:00Z")},
			"Every hour, America/New_York, from 2026-07-01 08:00", "1時間ごと(America/New_York)、2026年7月1日 08:00以降"},

		{once("2026-12-24T18:00:00+09:00", tokyo), "Once, at 2026-12-24 18:00, Asia/Tokyo", "2026年12月24日 18:00に1回(Asia/Tokyo)"},
		{once("2026-12-24T18:00:00+09:00", newYork), "Once, at 2026-12-24 04:00, America/New_York", "2026年12月24日 04:00に1回(America/New_York)"},
		{once("2026-12-24T18:00:07Z", "UTC"), "Once, at 2026-12-24 18:00:07, UTC", "2026年12月24日 18:00:07に1回(UTC)"},
		{once("2026-12-24T18:00:00.25Z", "UTC"), "Once, at 2026-12-24 18:00:00.25, UTC", "2026年12月24日 18:00:00.25に1回(UTC)"},
		// The clock shows 01:30 twice that night, and 01:30 once the night before and in spring.
		{once("2026-11-01T01:30:00-04:00", newYork), "Once, at 2026-11-01 01:30 -04:00, America/New_York", "2026年11月1日 01:30 -04:00に1回(America/New_York)"},
		{once("2026-11-01T01:30:00-05:00", newYork), "Once, at 2026-11-01 01:30 -05:00, America/New_York", "2026年11月1日 01:30 -05:00に1回(America/New_York)"},
		{once("2026-11-01T02:00:00-05:00", newYork), "Once, at 2026-11-01 02:00, America/New_York", "2026年11月1日 02:00に1回(America/New_York)"},
		{once("2026-10-31T01:30:00-04:00", newYork), "Once, at 2026-10-31 01:30, America/New_York", "2026年10月31日 01:30に1回(America/New_York)"},
		{once("2026-03-08T01:30:00-05:00", newYork), "Once, at 2026-03-08 01:30, America/New_York", "2026年3月8日 01:30に1回(America/New_York)"},
		{once("2026-03-08T03:30:00-04:00", newYork), "Once, at 2026-03-08 03:30, America/New_York", "2026年3月8日 03:30に1回(America/New_York)"},

		{Spec{}, "", ""},
		{Spec{Timezone: "UTC"}, "", ""},
		{Spec{Cron: "@daily"}, "", ""},
		{Spec{Cron: "@daily", Timezone: "Mars/Olympus_Mons"}, "", ""},
		{Spec{Cron: "61 * * * *", Timezone: "UTC"}, "", ""},
		{Spec{Cron: "0 0 30 2 *", Timezone: "UTC"}, "", ""},
		{Spec{Cron: " ", Timezone: "UTC"}, "", ""},
		{Spec{Cron: "@daily", Every: time.Hour, Timezone: "UTC"}, "", ""},
		{every(time.Millisecond), "", ""},
		{every(-time.Hour), "", ""},
	} {
		if got := Describe(test.spec, English); got != test.english {
			t.Errorf("%+v is\n\t%s\nwant\n\t%s", test.spec, got, test.english)
		}
		if got := Describe(test.spec, Japanese); got != test.japanese {
			t.Errorf("%+v is\n\t%s\nwant\n\t%s", test.spec, got, test.japanese)
		}
		if got := Describe(test.spec, "tlh"); got != test.english {
			t.Errorf("%+v in a language that isn't spoken is %q, want it in English", test.spec, got)
		}
	}
}

// What two expressions share in words they share in every local time.
func TestDescribeTellsDifferentExpressionsApart(t *testing.T) {
	t.Parallel()
	meaning, written := map[string]Cron{}, map[string]string{}
	add := func(expr string) {
		c, err := ParseCron(expr)
		if err != nil {
			return
		}
		c.wildcard = false // of no consequence unless a clock changes
		for _, language := range []Language{English, Japanese} {
			words := Describe(Spec{Cron: expr, Timezone: "UTC"}, language)
			if other, ok := meaning[words]; ok && other != *c {
				t.Errorf("%q and %q are both %q", written[words], expr, words)
			}
			meaning[words], written[words] = *c, expr
		}
	}
	list := func(set, low int) string {
		var items []string
		for value := range values(uint64(set)) {
			items = append(items, strconv.Itoa(low+value))
		}
		return strings.Join(items, ",")
	}
	for weekdays := 1; weekdays < 1<<7; weekdays++ {
		for _, hours := range []string{"0 3", "*/15 9-17", "*/7 9,12"} {
			add(hours + " * * " + list(weekdays, 0))
			add(hours + " 1 6 " + list(weekdays, 0))
			add(hours + " */2 6 " + list(weekdays, 0))
		}
	}
	for months := 1; months < 1<<12; months += 7 {
		add("0 0 1 " + list(months, 1) + " *")
	}
	for hour := range 24 {
		for minute := 0; minute < 60; minute += 7 {
			add(fmt.Sprintf("%d %d * * *", minute, hour))
			add(fmt.Sprintf("%d %d-%d * * *", minute, min(hour, minute%24), max(hour, minute%24)))
			add(fmt.Sprintf("%d/%d %d/%d * * *", minute, hour+1, hour, minute%24+1))
			add(fmt.Sprintf("%d/%d %d * * * *", minute, hour+1, hour))
			add(fmt.Sprintf("%d-59/%d * %d-23 * * *", minute, hour+1, hour))
		}
	}
	for day := 1; day <= 31; day++ {
		for step := 1; step <= 31; step += 3 {
			add(fmt.Sprintf("0 0 %d/%d * *", day, step))
			add(fmt.Sprintf("0 0 %d-%d * *", min(day, step), max(day, step)))
			add(fmt.Sprintf("0 0 %dW,L-%d * *", day, step))
		}
	}
	for n := range 7 * 5 * 7 * 6 {
		add(fmt.Sprintf("0 0 * * %d#%d,%d#%s", n%7, n/7%5+1, n/35%7, []string{"1", "2", "3", "4", "5", "L"}[n/245]))
	}
	r := rand.New(rand.NewPCG(3, 5))
	for range 3000 {
		add(randomSpec(r))
	}
	t.Logf("%d different descriptions", len(meaning))
}

// The words, read back by somebody who knows nothing of cron, name the seconds of
// the day at which the expression matches.
func TestDescribeNamesTheTimesOfTheDay(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 8))
	forms := map[string]int{}
	for range 300 {
		expr := randomTime(r, 60) + " " + randomTime(r, 24) + " * * *"
		if r.IntN(2) == 0 {
			expr = randomTime(r, 60) + " " + expr
		}
		words := Describe(Spec{Cron: expr, Timezone: "UTC"}, English)
		words = strings.TrimSuffix(strings.TrimSuffix(words, ", UTC"), " every day")
		named, form := readClock(t, words)
		forms[form]++
		c := mustCron(t, expr)
		for at := range secondsPerDay {
			if want := (c.hours>>(at/3600))&(c.minutes>>(at/60%60))&(c.seconds>>(at%60))&1 == 1; named[at] != want {
				t.Fatalf("%q is %q: at second %d it runs: %v, its words say %v", expr, words, at, want, named[at])
			}
		}
	}
	t.Log(forms)
}

var (
	clockWord  = regexp.MustCompile(`\b(\d\d):(\d\d)(?::(\d\d))?\b`)
	everyWord  = regexp.MustCompile(`^[Ee]very (?:(\d+)(?:st|nd|rd|th)? )?(second|minute|hour)s?(?: from (?:second |minute )?(\d+)(?: to (\d+))?)?$`)
	valuesWord = regexp.MustCompile(`^(?:At )?(second|minute|hour)s? ([\d, to and]+)$`)
	valueWord  = regexp.MustCompile(`(\d+)(?: to (\d+))?`)
)

func readClock(t *testing.T, words string) (named [secondsPerDay]bool, form string) {
	sizes := map[string]int{"second": 60, "minute": 60, "hour": 24}
	units := map[string]int{"second": 1, "minute": 60, "hour": 3600}
	number := func(text string, otherwise int) int {
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
		return otherwise
	}
	var times []int
	for _, match := range clockWord.FindAllStringSubmatch(words, -1) {
		times = append(times, number(match[1], 0)*3600+number(match[2], 0)*60+number(match[3], 0))
	}
	every, _, _ := strings.Cut(words, " from ")
	everyMatch := everyWord.FindStringSubmatch(every)
	switch {
	case times != nil && strings.HasPrefix(words, "At "):
		for _, at := range times {
			named[at] = true
		}
		return named, "times"
	case !strings.Contains(words, " of "):
		if times == nil {
			times = []int{0, secondsPerDay - 1}
		}
		for i := 0; i < len(times); i += 2 {
			for at := times[i]; at <= times[i+1]; at += number(everyMatch[1], 1) * units[everyMatch[2]] {
				named[at] = true
			}
		}
		return named, "spans"
	}
	has := map[string][]bool{}
	for part := range strings.SplitSeq(words, " of ") {
		set := make([]bool, 60)
		if match := everyWord.FindStringSubmatch(part); match != nil {
			for value := number(match[3], 0); value <= number(match[4], sizes[match[2]]-1); value += number(match[1], 1) {
				set[value] = true
			}
			has[match[2]] = set
			continue
		}
		match := valuesWord.FindStringSubmatch(part)
		if match == nil {
			t.Fatalf("%q can't be read at %q", words, part)
		}
		for _, item := range valueWord.FindAllStringSubmatch(match[2], -1) {
			for value := number(item[1], 0); value <= number(item[2], number(item[1], 0)); value++ {
				set[value] = true
			}
		}
		has[match[1]] = set
	}
	for at := range named {
		second, minute, hour := has["second"], has["minute"], has["hour"]
		named[at] = (second == nil && at%60 == 0 || second != nil && second[at%60]) &&
			(minute == nil || minute[at/60%60]) && (hour == nil || hour[at/3600])
	}
	return named, "fields"
}

func TestDescribeAlwaysHasWords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spec := Spec{Timezone: rapid.SampledFrom([]string{"UTC", "Asia/Tokyo", "America/New_York", "Australia/Lord_Howe"}).Draw(t, "zone")}
		instant := func(name string) time.Time { return time.Unix(rapid.Int64Range(1, 200e9).Draw(t, name), 0) }
		switch rapid.IntRange(0, 2).Draw(t, "kind") {
		case 0:
			spec.Cron = randomSpec(drawer{t})
		case 1:
			spec.Every = time.Duration(rapid.Int64Range(int64(MinEvery), int64(MaxEvery)).Draw(t, "every"))
		default:
			spec.At = instant("at")
		}
		if spec.At.IsZero() && rapid.Bool().Draw(t, "window") {
			spec.StartAt = instant("start")
			spec.EndAt = spec.StartAt.Add(time.Duration(rapid.Int64Range(1, 1e15).Draw(t, "length")))
		}
		spec.Jitter = time.Duration(rapid.Int64Range(0, int64(MaxJitter)).Draw(t, "jitter"))
		spec.MaxRuns = rapid.Int64Min(0).Draw(t, "runs")
		checkWords(t, spec)
	})
}

// Whatever the spec, Describe has words for it exactly when it is valid.
func FuzzDescribe(f *testing.F) {
	for _, seed := range []string{
		"* * * * *", "*/20 * * * * *", "0 3 * * 1-5", "30 2 29 2 *", "0 0 L-2,15W,LW * *", "0 0 ? jan,JUL FRI#L,1#5,3L",
		"5/20 22-2 * * *", "@daily", " @Hourly\t", "@every 5m", "0 0 1 * 1", "0 0 */2 * 1", "1,2,4,8,16,32,33,40,50 9 * * *", "*/10 */5 9,12 * * *", "%s %d * * *",
	} {
		f.Add(seed, "UTC", int64(0), int64(0), int64(0))
	}
	f.Add("", "America/New_York", int64(0), int64(1793511000), int64(5))
	f.Add("", "Asia/Tokyo", int64(5400e9), int64(0), int64(90e9))
	f.Fuzz(func(t *testing.T, cron, zone string, every, at, jitter int64) {
		spec := Spec{Cron: cron, Every: time.Duration(every), Timezone: zone, Jitter: time.Duration(jitter), MaxRuns: jitter}
		if at != 0 {
			spec.At = time.Unix(at, 0)
		}
		checkWords(t, spec)
	})
}

func checkWords(t rapid.TB, spec Spec) {
	for _, language := range []Language{English, Japanese} {
		words := Describe(spec, language)
		if err := spec.Validate(); (err == nil) != (words != "") {
			t.Fatalf("%+v is %q, valid: %v", spec, words, err)
		}
		if !utf8.ValidString(words) || strings.ContainsFunc(words, unicode.IsControl) {
			t.Fatalf("%+v is %q, which isn't plain text", spec, words)
		}
		// A format without its argument, a list without items, a word left out.
		for _, mistake := range []string{"%", "  ", " ,", "、、", "・・", " 1 minutes", "on and", "of of"} {
			if strings.Contains(words, mistake) {
				t.Fatalf("%+v is %q, which has %q", spec, words, mistake)
			}
		}
		if n := utf8.RuneCountInString(words); n > 600 {
			t.Fatalf("%+v takes %d characters: %s", spec, n, words)
		}
	}
}

func TestDescribeIsQuick(t *testing.T) {
	t.Parallel()
	for _, expr := range []string{
		"* * * * * *",
		"0/7 3/5 2/3 */2 * *",
		"1,5,9,22,43 1,5,9,22,43 1,5,9,22 1,5,9,22W,L-3,LW 1,3,8 1#1,3#2,5L",
		"0 0 " + strings.TrimSuffix(strings.Repeat("1W,15W,31W,LW,L-30,", 12), ",") + " 2 *",
	} {
		spec := Spec{Cron: expr, Timezone: "Asia/Tokyo"}
		// The least of several, because the machine may be busy.
		least := time.Hour
		for range 20 {
			start := time.Now()
			Describe(spec, English)
			least = min(least, time.Since(start))
		}
		if least > 2*time.Millisecond {
			t.Errorf("%q takes %v", expr, least)
		}
	}
}

func BenchmarkDescribe(b *testing.B) {
	spec := Spec{Cron: "*/15 9-17 * * 1-5", Timezone: "Asia/Tokyo"}
	for b.Loop() {
		Describe(spec, Japanese)
	}
}
