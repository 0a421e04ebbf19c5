package daemon

import "time"

// slowAfter is how long a start waits for a file before it says so.
const slowAfter = 3 * time.Second

// next notes the file that the start uses next: if its file system hangs, people
// learn which file the start waits for. "" ends that.
func (d *Daemon) next(file string) {
	if d.slow != nil {
		d.slow.Stop()
	}
	if file == "" {
		return
	}
	d.slow = time.AfterFunc(slowAfter, func() {
		d.cfg.Log.Warn("the start waits for a file system that does not answer", "code", "start_waits", "file", file)
		d.cfg.Notifier.Status("the start waits for a file system that does not answer: " + file)
	})
}
