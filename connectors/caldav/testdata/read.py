"""What a calendar holds, by another's client: URL, then the days to expand between."""

import datetime
import json
import sys
import urllib.parse

import caldav

at = urllib.parse.urlsplit(sys.argv[1])
client = caldav.DAVClient(
    url=f"{at.scheme}://{at.hostname}:{at.port}{at.path}", username=at.username, password=at.password
)
calendar = client.calendar(url=client.url)
first, last = (datetime.datetime.fromisoformat(day) for day in sys.argv[2:4])

held = {}
for found in calendar.events():
    event = found.icalendar_component
    held[str(event["X-POLICYSYNC-KEY"])] = {
        "title": str(event["SUMMARY"]),
        "version": int(event["X-POLICYSYNC-VERSION"]),
        "starts": [],
    }
for found in calendar.search(start=first, end=last, event=True, expand=True):
    event = found.icalendar_component
    held[str(event["X-POLICYSYNC-KEY"])]["starts"].append(event["DTSTART"].dt.isoformat())
for event in held.values():
    event["starts"].sort()
json.dump(held, sys.stdout)
