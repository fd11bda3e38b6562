echo running EDIT
exec sleep 1000
