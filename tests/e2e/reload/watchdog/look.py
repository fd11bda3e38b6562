import threading

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer


class Hears(FileSystemEventHandler):
    def look(self, path):
        if path == "./app.txt":
            with open(path) as file:
                print("heard", file.read().strip(), flush=True)

    def on_closed(self, event):
        self.look(event.src_path)

    def on_moved(self, event):
        self.look(event.dest_path)


observer = Observer()
observer.schedule(Hears(), ".", recursive=True)
observer.start()
print("ready", flush=True)
threading.Event().wait()
