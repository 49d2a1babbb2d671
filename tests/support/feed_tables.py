"""What every consumer of a feed does with changes of the schema, whatever database it writes to (EVENTS.md): all of a
commit happen at once and before its first row, so tables get their names by way of temporary ones."""
from feed_oracle import quoted


class FeedTables:
    """Of one consumer; it provides execute(sql, values), columns(shape), value(value, column, values) -> SQL, and
    apply_row(event). `shapes`: what each table of its looks like."""

    def __init__(self):
        self.shapes, self.renames = {}, {}

    def apply(self, event):
        if "status" in event:
            return
        if "tableChanges" not in event:
            self.settle_renames()
            self.apply_row(event)
        elif event["object"] == "table":
            for change in event["tableChanges"]:
                self.apply_schema(event["objectName"], change)

    def settle_renames(self):
        """REQUIRES: at the end of each commit; before its first row it happens by itself."""
        for final, temporary in self.renames.items():
            self.execute(f"ALTER TABLE {quoted(temporary)} RENAME TO {quoted(final)}", [])
        self.renames = {}

    def apply_schema(self, table, change):
        if change["type"] == "DROP":
            self.execute(f"DROP TABLE {quoted(table)}", [])
            self.forget(table)
            return
        shape, temporary = change["table"], f"_new_{len(self.renames)}"
        self.execute(f"CREATE TABLE {quoted(temporary)}({self.columns(shape)})", [])
        if change["type"] == "ALTER":
            old, parts, values = change["previousName"] or table, [], []
            for column, mapped in zip(shape["columns"], change["columnMap"]):
                parts.append(quoted(mapped["from"]) if "from" in mapped else
                             self.value(mapped["default"], column, values))
            self.execute(f"INSERT INTO {quoted(temporary)} SELECT {','.join(parts)} FROM {quoted(old)}", values)
            self.execute(f"DROP TABLE {quoted(old)}", [])
            if old != table and old in self.shapes:
                self.forget(old)
        self.renames[table] = temporary
        self.remember(table, shape)

    def remember(self, table, shape):
        self.shapes[table] = shape

    def forget(self, table):
        self.shapes.pop(table)
