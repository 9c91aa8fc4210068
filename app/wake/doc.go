// Package wake tells schedulers that something changed.
//
// A change travels two ways, and either is enough: a trigger of the database
// sends a NOTIFY that the Listener hears, and the process that made the change
// announces it through the Publisher to Redis, where every Subscriber hears it.
//
// Both carry hints. A hint may be lost, doubled, late or garbage: whoever gets
// one looks at the database and believes only that. So nothing here stops for a
// message that can't be read, and nothing is kept for later. What can't be read
// means "look at everything" (the zero schedule.Change), and so does every
// connection that comes up, because nobody knows what was said before.
//
// A connection counts only while it is proven. Each of them is sent heartbeats,
// over other connections, and when they don't come back it is replaced; the
// Status says how it is.
package wake
