export { diagnose } from './doctor/doctor.ts'
export type { DoctorOptions } from './doctor/examination.ts'
export type { Finding, FindingId, Level } from './doctor/finding.ts'
