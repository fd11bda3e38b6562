import time

print("running EDIT", flush=True)
time.sleep(1000)
