-- Health of RolloutJob, RewriteJob and AlignmentJob for Argo CD. Argo CD opens no libraries for it but base and table.
-- The conditions follow kstatus: Reconciling, Stalled, and Ready when neither holds. A job that works, or waits for another
-- one, is Progressing until it is Complete, so that a healthy application is a finished experiment.
if obj.status == nil or obj.status.conditions == nil then
  return {status = "Progressing", message = "the operator has not looked at it yet"}
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "the operator has not looked at the newest change yet"}
end

local holds = {}
local message = ""
for _, condition in ipairs(obj.status.conditions) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
  if condition.type == "Ready" then
    message = condition.reason
    if condition.message ~= nil and condition.message ~= "" then
      message = condition.reason .. ": " .. condition.message
    end
  end
end

if holds.Failed or holds.Stalled then
  return {status = "Degraded", message = message}
end
if holds.Complete then
  return {status = "Healthy", message = message}
end
if holds.Suspended then
  return {status = "Suspended", message = message}
end
local progress = obj.status.progress
if obj.status.phase == "Running" and progress ~= nil and progress.progressPercentage ~= nil then
  message = progress.progressPercentage .. "% " .. message
end
return {status = "Progressing", message = message}
